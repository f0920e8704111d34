/// The name of one file of a split model: "NAME-00002-of-00003.gguf". Source: `llama_split_path`, llama.h.
package struct SplitFileName: Hashable, Sendable {
    package let prefix: String
    /// From 1.
    package let number: Int
    package let count: Int

    /// Nil if `fileName`, a last path component, has another form or the numbers make no sense.
    package init?(_ fileName: String) {
        guard fileName.hasSuffix(".gguf") else { return nil }
        let stem = fileName.dropLast(5)
        let parts = stem.split(separator: "-", omittingEmptySubsequences: false)
        guard parts.count >= 4, parts[parts.count - 2] == "of" else { return nil }
        let numberText = parts[parts.count - 3]
        let countText = parts[parts.count - 1]
        guard SplitFileName.isNumber(numberText), SplitFileName.isNumber(countText) else { return nil }
        guard let number = Int(numberText), let count = Int(countText) else { return nil }
        guard (1...GGUFLimits.splitCountMax).contains(count), (1...count).contains(number) else { return nil }
        self.prefix = parts.dropLast(3).joined(separator: "-")
        self.number = number
        self.count = count
    }

    /// The names of all files of the model, in order.
    package var all: [String] { (1...count).map { "\(prefix)-\(padded($0))-of-\(padded(count)).gguf" } }

    private static func isNumber(_ text: Substring) -> Bool {
        text.utf8.count == 5 && text.utf8.allSatisfy { (0x30...0x39).contains($0) }
    }

    private func padded(_ number: Int) -> String {
        let digits = String(number)
        return String(repeating: "0", count: max(0, 5 - digits.count)) + digits
    }
}
