/// Makes an answer's text out of token pieces: whole UTF-8 characters only, and nothing of a stop sequence.
///
/// The stop sequence that is complete first ends the text; of those complete at the same byte the longest counts. So
/// the result does not depend on how the bytes were cut into pieces. Matching is on UTF-8 bytes: canonically equivalent
/// spellings are different. What might become a stop sequence is held back: at most the longest stop sequence less one
/// byte.
package struct TextAssembler: Sendable {
    /// What one piece added.
    package struct Output: Hashable, Sendable {
        /// Text that is certain; may be empty.
        package var text: String
        /// A stop sequence is complete: the answer ends with `text`.
        package var isStopped: Bool

        package init(text: String, isStopped: Bool) {
            self.text = text
            self.isStopped = isStopped
        }
    }

    private let stopSequences: [[UInt8]]
    private var utf8 = UTF8Assembler()
    /// Valid UTF-8 that is a beginning of a stop sequence.
    private var held: [UInt8] = []
    private var isStopped = false

    /// Empty stop sequences are ignored.
    package init(stopSequences: [String]) {
        self.stopSequences = stopSequences.map { Array($0.utf8) }.filter { !$0.isEmpty }
    }

    /// Adds the bytes of one token. After a stop nothing comes any more.
    package mutating func append(_ piece: [UInt8]) -> Output {
        guard !isStopped else { return Output(text: "", isStopped: true) }
        return take(utf8.append(piece))
    }

    /// The answer ended without a stop sequence: what was held back, incomplete characters as U+FFFD.
    ///
    /// `isStopped` when the last replacement character completed a stop sequence.
    package mutating func finish() -> Output {
        guard !isStopped else { return Output(text: "", isStopped: true) }
        var output = take(utf8.finish())
        if !output.isStopped {
            output.text += String(decoding: held, as: UTF8.self)
        }
        held = []
        isStopped = true
        return output
    }

    private mutating func take(_ bytes: [UInt8]) -> Output {
        for byte in bytes {
            held.append(byte)
            guard let stopByteCount = completedStopByteCount() else { continue }
            isStopped = true
            let text = String(decoding: held.dropLast(stopByteCount), as: UTF8.self)
            held = []
            return Output(text: text, isStopped: true)
        }
        let heldByteCount = possibleStopByteCount()
        let text = String(decoding: held.dropLast(heldByteCount), as: UTF8.self)
        held = Array(held.suffix(heldByteCount))
        return Output(text: text, isStopped: false)
    }

    /// Length of the longest stop sequence that `held` ends with.
    private func completedStopByteCount() -> Int? {
        stopSequences.filter { hasSuffix($0[...]) }.map(\.count).max()
    }

    /// Length of the longest end of `held` that begins a stop sequence.
    private func possibleStopByteCount() -> Int {
        stopSequences.map { stop in
            (1..<stop.count).last { hasSuffix(stop.prefix($0)) } ?? 0
        }.max() ?? 0
    }

    private func hasSuffix(_ bytes: ArraySlice<UInt8>) -> Bool {
        held.count >= bytes.count && held.suffix(bytes.count) == bytes
    }
}
