import ShoalScheduling
import Testing

@Suite("Text assembly")
struct TextAssemblerTests {
    /// Each output of `pieces`, then of the end; the last is nil after a stop.
    private func outputs(_ pieces: [[UInt8]], stopSequences: [String] = []) -> (texts: [String], isStopped: Bool) {
        var assembler = TextAssembler(stopSequences: stopSequences)
        var texts: [String] = []
        for piece in pieces {
            let output = assembler.append(piece)
            texts.append(output.text)
            if output.isStopped { return (texts, true) }
        }
        let rest = assembler.finish()
        return (texts + [rest.text], rest.isStopped)
    }

    @Test("a character that is cut in two comes out whole with its last byte")
    func splitCharacter() {
        #expect(outputs([[0x61, 0xC3], [0xA9]]).texts == ["a", "é", ""])
        #expect(outputs([[0xF0], [0x9F], [0x90], [0x9F, 0x21]]).texts == ["", "", "", "🐟!", ""])
    }

    @Test("bytes that can never be valid become U+FFFD at once")
    func invalidBytes() {
        #expect(outputs([[0xFF]]).texts == ["\u{FFFD}", ""])
        #expect(outputs([[0xC3], [0x28]]).texts == ["", "\u{FFFD}(", ""])
        // An overlong form and a surrogate are wrong from their second byte on.
        #expect(outputs([[0xE0, 0x80]]).texts == ["\u{FFFD}\u{FFFD}", ""])
        #expect(outputs([[0xED, 0xA0]]).texts == ["\u{FFFD}\u{FFFD}", ""])
    }

    @Test("a character that never ends comes out as U+FFFD at the end")
    func unfinishedCharacter() {
        #expect(outputs([[0x61, 0xE2, 0x82]]).texts == ["a", "\u{FFFD}"])
    }

    @Test("a stop sequence across pieces is never shown")
    func stopAcrossPieces() {
        let (texts, isStopped) = outputs(
            [Array("fish E".utf8), Array("N".utf8), Array("D more".utf8)], stopSequences: ["END"])
        #expect(texts == ["fish ", "", ""])
        #expect(isStopped)
    }

    @Test("what only looked like a stop sequence is shown as soon as it cannot be one")
    func falseStart() {
        let (texts, isStopped) = outputs([Array("EN".utf8), Array("EN".utf8), Array("T".utf8)], stopSequences: ["END"])
        #expect(texts == ["", "EN", "ENT", ""])
        #expect(!isStopped)
    }

    @Test("what is held back comes out when the answer ends otherwise")
    func flush() {
        let (texts, isStopped) = outputs([Array("the EN".utf8)], stopSequences: ["END"])
        #expect(texts == ["the ", "EN"])
        #expect(!isStopped)
    }

    @Test("of several stop sequences the one that is complete first ends the text, and of those the longest")
    func severalStops() {
        #expect(outputs([Array("xabcd".utf8)], stopSequences: ["abcd", "bc"]).texts == ["xa"])
        #expect(outputs([Array("xabc".utf8)], stopSequences: ["c", "abc", "bc"]).texts == ["x"])
        #expect(outputs([Array("aab".utf8)], stopSequences: ["aab", "ab"]).texts == [""])
    }

    @Test("empty stop sequences are ignored")
    func emptyStop() {
        let (texts, isStopped) = outputs([Array("a".utf8)], stopSequences: [""])
        #expect(texts == ["a", ""])
        #expect(!isStopped)
    }

    @Test("nothing comes after a stop or an end")
    func nothingAfterStop() {
        var assembler = TextAssembler(stopSequences: ["x"])
        #expect(assembler.append(Array("ax".utf8)) == .init(text: "a", isStopped: true))
        #expect(assembler.append(Array("b".utf8)) == .init(text: "", isStopped: true))
        #expect(assembler.finish() == .init(text: "", isStopped: true))
    }

    @Test("a replacement character at the very end can complete a stop sequence")
    func stopAtEnd() {
        let (texts, isStopped) = outputs([[0x61, 0xC3]], stopSequences: ["\u{FFFD}"])
        #expect(texts == ["a", ""])
        #expect(isStopped)
    }

    @Test("any bytes in any pieces give the text of the whole")
    func randomSplits() {
        let alphabet: [UInt8] = [
            0x61, 0x62, 0x63, 0xC3, 0xA9, 0xE2, 0x82, 0xAC, 0xF0, 0x9F, 0x90, 0x9F, 0xED, 0xA0, 0xE0, 0x80, 0xF4, 0xFF,
        ]
        let candidates = ["a", "ab", "abc", "bc", "cab", "é", "€", "aé", "\u{FFFD}", "🐟"]
        for seed in seeds(0..<1500) {
            var generator = SeededGenerator(seed: seed)
            let stops = candidates.filter { _ in generator.chance(15) }
            let bytes = (0..<Int.random(in: 0...40, using: &generator)).compactMap { _ in
                alphabet.randomElement(using: &generator)
            }
            var pieces: [[UInt8]] = []
            var rest = bytes[...]
            while !rest.isEmpty {
                let count = Int.random(in: 0...5, using: &generator)
                pieces.append(Array(rest.prefix(count)))
                rest = rest.dropFirst(count)
            }
            let (texts, isStopped) = outputs(pieces, stopSequences: stops)
            let expected = NaiveText.text(of: bytes, stopSequences: stops, isFinished: true)
            #expect(
                texts.joined() == expected.text && isStopped == expected.isStopped,
                "SHOAL_SEED=\(seed): \(pieces) with \(stops) gave \(texts) \(isStopped), not \(expected)")
        }
    }
}
