# `nix run github:OWNER/vramplan -- budget --gpu L4 --model qwen2.5-14b`; `nix develop` has what contributors need.
{
  description = "Plans the GPU memory of language models";

  # Rust 1.88 or newer.
  inputs.nixpkgs.url = "github:NixOS/nixpkgs/nixos-unstable";

  outputs = { self, nixpkgs }:
    let
      systems = [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" ];
      forEach = nixpkgs.lib.genAttrs systems;
      manifest = (nixpkgs.lib.importTOML ./Cargo.toml).workspace.package;
    in
    {
      packages = forEach (system:
        let pkgs = nixpkgs.legacyPackages.${system};
        in {
          default = pkgs.rustPlatform.buildRustPackage {
            pname = "vramplan";
            inherit (manifest) version;
            src = self;
            cargoLock.lockFile = ./Cargo.lock;
            cargoBuildFlags = [ "--package" "vramplan" "--bin" "vramplan" ];
            # `just check` runs them: they want Python's packages and a model from the network.
            doCheck = false;
            nativeBuildInputs = [ pkgs.installShellFiles ];
            postInstall = ''
              $out/bin/vramplan man man1
              installManPage man1/*.1
              installShellCompletion --cmd vramplan \
                --bash <($out/bin/vramplan completions bash) \
                --zsh <($out/bin/vramplan completions zsh) \
                --fish <($out/bin/vramplan completions fish)
            '';
            doInstallCheck = true;
            installCheckPhase = ''
              $out/bin/vramplan budget -q --gpu L4 --model qwen2.5-14b
            '';
            meta = {
              description = "Plans the GPU memory of language models";
              license = with pkgs.lib.licenses; [ mit asl20 ];
              mainProgram = "vramplan";
            };
          };
        });

      devShells = forEach (system:
        let pkgs = nixpkgs.legacyPackages.${system};
        in {
          default = pkgs.mkShell {
            packages = with pkgs; [ cargo rustc clippy rustfmt rust-analyzer just python3 ];
          };
        });
    };
}
