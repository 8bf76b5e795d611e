# Evaluates `flake.nix` as far as it can be without nixpkgs: `nix-instantiate --eval --strict packaging/nix/check.nix` says what
# would be built for each system.
let
  lib = {
    genAttrs = names: f: builtins.listToAttrs (map (name: { inherit name; value = f name; }) names);
    importTOML = path: builtins.fromTOML (builtins.readFile path);
    licenses = { mit = "MIT"; asl20 = "Apache-2.0"; };
  };
  tools = [ "cargo" "rustc" "clippy" "rustfmt" "rust-analyzer" "just" "python3" ];
  pkgs = lib.genAttrs tools (name: name) // {
    inherit lib;
    installShellFiles = "installShellFiles";
    rustPlatform.buildRustPackage = of: of;
    mkShell = of: of;
  };
  systems = [ "x86_64-linux" "aarch64-linux" "x86_64-darwin" "aarch64-darwin" ];
  flake = (import ../../flake.nix).outputs {
    self = ../..;
    nixpkgs = { inherit lib; legacyPackages = lib.genAttrs systems (_: pkgs); };
  };
  package = system: flake.packages.${system}.default;
in
lib.genAttrs systems (system:
  assert builtins.pathExists (package system).cargoLock.lockFile;
  assert builtins.length flake.devShells.${system}.default.packages == builtins.length tools;
  "${(package system).pname} ${(package system).version}, ${toString (package system).meta.license}")
