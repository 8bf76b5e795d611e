# Loads a formula as far as it can be without Homebrew: each system gets an address and its checksum, and `install` and
# `test` call nothing that a formula has not. `ruby check.rb FORMULA` prints a line for each system.

class Formula
  class << self
    attr_reader :systems

    def desc(text)
      raise "desc: expected less than 80 characters" if text.length >= 80
      raise "desc: expected no article and no full stop" if text =~ /\A(An?|The) |\.\z/i
    end

    def homepage(url)
      raise "homepage: `#{url}`: expected an https address" unless url.start_with?("https://")
    end

    def version(text)
      raise "version: `#{text}`" unless text.match?(/\A\d+\.\d+\.\d+/)
    end

    def license(of)
      raise "license: expected any_of" unless of.key?(:any_of)
    end

    %i[macos linux arm intel].each do |name|
      define_method(:"on_#{name}") do |&block|
        (@on ||= []).push(name)
        block.call
        @on.pop
      end
    end

    def url(text) = ((@systems ||= {})[@on.join(" ")] = { url: text })

    def sha256(text)
      raise "sha256 of #{@on.join(" ")}: `#{text}`: expected 64 hexadecimal digits" unless text.match?(/\A\h{64}\z/)
      @systems[@on.join(" ")][:sha256] = text
    end

    def test(&block) = (@test = block)
  end
end

load ARGV.fetch(0)
raise "`install` is not there" unless Vramplan.method_defined?(:install)
Vramplan.systems.each { |name, of| puts "#{name} #{of.fetch(:url)} #{of.fetch(:sha256)}" }
raise "expected four systems" unless Vramplan.systems.length == 4
