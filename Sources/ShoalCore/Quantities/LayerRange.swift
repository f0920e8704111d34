/// A contiguous, non-empty range of a model's layers, `first..<end`, counted from zero in the whole model.
package struct LayerRange: Hashable, Sendable, Codable, CustomStringConvertible {
    package let first: Int
    package let end: Int

    /// Nil if the range would be empty or start below zero.
    package init?(first: Int, end: Int) {
        guard first >= 0, end > first else { return nil }
        self.first = first
        self.end = end
    }

    /// Reads the inclusive notation of `--layers`: "0-14" is fifteen layers, "7" is one.
    package init?(parsing text: some StringProtocol) {
        let parts = text.split(separator: "-", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), let first = Int(parts[0]), let last = Int(parts[parts.count - 1]) else {
            return nil
        }
        guard last < Limits.layerCountMax else { return nil }
        self.init(first: first, end: last + 1)
    }

    package init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        let first = try container.decode(Int.self, forKey: .first)
        let end = try container.decode(Int.self, forKey: .end)
        guard let range = LayerRange(first: first, end: end) else {
            throw DecodingError.dataCorrupted(
                .init(codingPath: decoder.codingPath, debugDescription: "a layer range holds at least one layer"))
        }
        self = range
    }

    package var count: Int { end - first }

    package func contains(_ layer: Int) -> Bool { first <= layer && layer < end }

    package var description: String { count == 1 ? "\(first)" : "\(first)-\(end - 1)" }

    private enum CodingKeys: String, CodingKey { case first, end }
}
