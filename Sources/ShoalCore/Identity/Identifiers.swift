/// One node's identity: lowercase hexadecimal, at most 64 characters, made on first start and kept in its data folder.
package struct NodeID: Hashable, Sendable, Comparable, CustomStringConvertible {
    package let rawValue: String

    /// Nil unless `text` is 1 to 64 lowercase hexadecimal characters.
    package init?(_ text: String) {
        guard (1...Limits.nodeIDCharacterCountMax).contains(text.utf8.count) else { return nil }
        guard text.utf8.allSatisfy(NodeID.isLowercaseHexadecimal) else { return nil }
        self.rawValue = text
    }

    /// A fresh identity of 128 random bits.
    package static func random() -> NodeID {
        NodeID(unchecked: hexadecimal(.random(in: .min ... .max)) + hexadecimal(.random(in: .min ... .max)))
    }

    package var description: String { rawValue }

    package static func < (left: NodeID, right: NodeID) -> Bool { left.rawValue < right.rawValue }

    private init(unchecked text: String) { rawValue = text }

    private static func isLowercaseHexadecimal(_ byte: UInt8) -> Bool {
        (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte)
    }
}

extension NodeID: Codable {
    package init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        guard let id = NodeID(text) else {
            throw DecodingError.dataCorrupted(
                .init(codingPath: decoder.codingPath, debugDescription: "a node id is 1 to 64 lowercase hex characters")
            )
        }
        self = id
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(rawValue)
    }
}

/// One running plan. Written as 16 hexadecimal characters, in JSON too, where a 64-bit number would lose digits.
package struct InstanceID: Hashable, Sendable, Comparable, CustomStringConvertible {
    package let rawValue: UInt64

    package init(rawValue: UInt64) { self.rawValue = rawValue }

    /// Nil unless `text` is exactly 16 hexadecimal characters.
    package init?(_ text: String) {
        guard text.utf8.count == 16, let value = UInt64(text, radix: 16) else { return nil }
        rawValue = value
    }

    package static func random() -> InstanceID { InstanceID(rawValue: .random(in: 1 ... .max)) }

    package var description: String { hexadecimal(rawValue) }

    package static func < (left: InstanceID, right: InstanceID) -> Bool { left.rawValue < right.rawValue }
}

extension InstanceID: Codable {
    package init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        guard let id = InstanceID(text) else {
            throw DecodingError.dataCorrupted(
                .init(codingPath: decoder.codingPath, debugDescription: "an instance id is 16 hex characters"))
        }
        self = id
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// One request inside the cluster, unique per node that accepted it.
package struct RequestID: Hashable, Sendable, Codable, Comparable, CustomStringConvertible {
    package let rawValue: UInt64

    package init(rawValue: UInt64) { self.rawValue = rawValue }

    /// Nil unless `text` is exactly 16 hexadecimal characters.
    package init?(_ text: String) {
        guard text.utf8.count == 16, let value = UInt64(text, radix: 16) else { return nil }
        rawValue = value
    }

    package static func random() -> RequestID { RequestID(rawValue: .random(in: 1...(1 << 53))) }

    package var description: String { hexadecimal(rawValue) }

    package static func < (left: RequestID, right: RequestID) -> Bool { left.rawValue < right.rawValue }
}

/// A KV cache sequence of one instance: the same number in every stage. Source: `llama_seq_id`, llama.h.
package struct SequenceID: Hashable, Sendable, Codable, Comparable, CustomStringConvertible {
    package let rawValue: Int32

    package init(rawValue: Int32) { self.rawValue = rawValue }

    package var description: String { String(rawValue) }

    package static func < (left: SequenceID, right: SequenceID) -> Bool { left.rawValue < right.rawValue }
}

/// A token of a model's vocabulary. Source: `llama_token`, llama.h.
package struct TokenID: Hashable, Sendable, Codable, CustomStringConvertible {
    package let rawValue: Int32

    package init(rawValue: Int32) { self.rawValue = rawValue }

    package init(from decoder: any Decoder) throws {
        rawValue = try decoder.singleValueContainer().decode(Int32.self)
    }

    package func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(rawValue)
    }

    package var description: String { String(rawValue) }
}

/// Sixteen lowercase hexadecimal characters.
private func hexadecimal(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return String(repeating: "0", count: 16 - digits.count) + digits
}
