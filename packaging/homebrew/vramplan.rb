# `scripts/build-formula` fills in the version, the repository and the checksums of a release.
class Vramplan < Formula
  desc "Plan the GPU memory of language models: what fits, with how much context"
  homepage "@REPOSITORY@"
  version "@VERSION@"
  license any_of: ["MIT", "Apache-2.0"]

  on_macos do
    on_arm do
      url "@REPOSITORY@/releases/download/v@VERSION@/vramplan-@VERSION@-aarch64-apple-darwin.tar.gz"
      sha256 "@SHA256:aarch64-apple-darwin@"
    end
    on_intel do
      url "@REPOSITORY@/releases/download/v@VERSION@/vramplan-@VERSION@-x86_64-apple-darwin.tar.gz"
      sha256 "@SHA256:x86_64-apple-darwin@"
    end
  end

  on_linux do
    on_arm do
      url "@REPOSITORY@/releases/download/v@VERSION@/vramplan-@VERSION@-aarch64-unknown-linux-gnu.tar.gz"
      sha256 "@SHA256:aarch64-unknown-linux-gnu@"
    end
    on_intel do
      url "@REPOSITORY@/releases/download/v@VERSION@/vramplan-@VERSION@-x86_64-unknown-linux-gnu.tar.gz"
      sha256 "@SHA256:x86_64-unknown-linux-gnu@"
    end
  end

  def install
    bin.install "vramplan"
    # Beside the command they are found: the engine of `calibrate`, and on Linux the libraries of `rehearse`.
    bin.install "vramplan-worker" if File.exist? "vramplan-worker"
    (lib/"vramplan").install Dir["libvramplan_gpu*.so"]
    generate_completions_from_executable(bin/"vramplan", "completions")
    system bin/"vramplan", "man", man1
  end

  test do
    assert_match "vramplan #{version}", shell_output("#{bin}/vramplan --version")
    assert_match "fits: ", shell_output("#{bin}/vramplan budget -q --gpu L4 --model qwen2.5-14b")
  end
end
