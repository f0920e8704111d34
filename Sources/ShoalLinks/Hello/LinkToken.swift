/// A secret that names one connection that somebody waits for. It works once, for the node that it was made for.
package struct LinkToken: Hashable, Sendable {
    /// 128 bits in hexadecimal.
    package static let characterCount = 32

    package let rawValue: String

    /// Nil unless it is 32 lowercase hexadecimal digits.
    package init?(rawValue: String) {
        let isToken = rawValue.utf8.allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
        guard isToken, rawValue.utf8.count == Self.characterCount else { return nil }
        self.rawValue = rawValue
    }

    private init(high: UInt64, low: UInt64) {
        rawValue = [high, low].map { value in
            let digits = String(value, radix: 16)
            return String(repeating: "0", count: 16 - digits.count) + digits
        }.joined()
    }

    package static func random() -> LinkToken {
        // The system's generator is one for secrets.
        LinkToken(high: .random(in: .min ... .max), low: .random(in: .min ... .max))
    }
}

extension LinkToken: Codable {
    package init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let token = LinkToken(rawValue: try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "not a link token")
        }
        self = token
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(rawValue)
    }
}
