/// Bounds on what a GGUF header may claim. Real headers stay far below them; a damaged one must not take the memory.
package enum GGUFLimits {
    /// Keys, token strings and tensor descriptions together.
    package static let headerByteCountMax = 1 << 30
    package static let keyCountMax = 1 << 16
    package static let tensorCountMax = 1 << 17
    /// Bytes of a key's name. Source: the GGUF specification, "keys ... at most 65535 bytes".
    package static let keyByteCountMax = 65_535
    /// Bytes of one string value, chat templates included.
    package static let stringByteCountMax = 64 << 20
    package static let arrayElementCountMax = 1 << 26
    /// `GGML_MAX_DIMS`, ggml.h.
    package static let dimensionCountMax = 4
    /// `GGML_MAX_NAME` less the final zero, ggml.h.
    package static let tensorNameByteCountMax = 63
    package static let alignmentMax = 1 << 20
    /// Files of one model.
    package static let splitCountMax = 4096
    /// The first piece of a header that is read; later pieces are as long as what is already there, up to the second.
    package static let readByteCountMin = 64 << 10
    package static let readByteCountMax = 4 << 20
}
