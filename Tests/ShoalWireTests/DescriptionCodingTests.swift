import NIOCore
import ShoalCore
import ShoalWire
import Testing

@Suite("Micro-batch and outputs descriptions")
struct DescriptionCodingTests {
    private static let instance = InstanceID(rawValue: 5)

    private static func microBatchFrame(_ description: [UInt8], payload: [UInt8] = []) -> Frame {
        Frame(
            kind: .microBatch, number: 3, description: ByteBuffer(bytes: description),
            payload: ByteBuffer(bytes: payload))
    }

    private static let times = StageTimes(
        queue: 1, embed: 2, compute: 3, sample: 4, detokenize: 5, engine: 6, link: 258)
    private static let goldenTimes: [UInt8] = [
        1,  // stages
        0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 1, 2,
    ]

    /// One remove, one entry, activations of 1 x 2 float16.
    private static let goldenMicroBatch: [UInt8] =
        [
            0, 0, 0, 1,  // operations
            1, 0, 0, 0, 2, 0, 0, 0, 4, 0x7F, 0xFF, 0xFF, 0xFF,  // remove sequence 2, 4..<end
            0, 0, 0, 1,  // entries
            0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 1, 0, 1,  // sequence 2, position 4, token 256, output
            1, 1, 0, 0, 0, 1, 0, 0, 0, 2,  // float16, 1 x 2
        ] + goldenTimes

    @Test("the golden micro-batch has exactly these bytes")
    func goldenMicroBatchBytes() throws {
        let sequence = SequenceID(rawValue: 2)
        let description = MicroBatchDescription(
            batch: MicroBatch(
                number: 3, kvOperations: [.remove(sequence, from: 4, to: .max)],
                entries: [BatchEntry(sequence: sequence, position: 4, token: TokenID(rawValue: 256), wantsOutput: true)]
            ),
            activations: TensorDescription(elementType: .float16, rowCount: 1, width: 2), stages: [Self.times])
        let payload = ByteBuffer(bytes: [1, 2, 3, 4])
        let frame = try description.frame(instance: Self.instance, generation: 1, payload: payload)
        #expect(frame.description.byteArray == Self.goldenMicroBatch)
        #expect(frame.number == 3)
        #expect(try MicroBatchDescription(decoding: frame) == description)
    }

    @Test("the golden outputs have exactly these bytes")
    func goldenOutputsBytes() throws {
        let token = SampledToken(
            sequence: SequenceID(rawValue: 1), token: TokenID(rawValue: 7), piece: [0x68, 0x69],
            isEndOfGeneration: false)
        let description = OutputsDescription(tokens: [token], logits: nil, stages: [Self.times])
        let frame = try description.frame(number: 4, instance: Self.instance, generation: 1)
        #expect(
            frame.description.byteArray == [
                0, 0, 0, 1,  // tokens
                0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 2, 0x68, 0x69,
                0,  // no logits
            ] + Self.goldenTimes)
        #expect(try OutputsDescription(decoding: frame) == description)
    }

    @Test("random micro-batches survive", arguments: 0..<100 as Range<UInt64>)
    func microBatchRoundTrip(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let (description, payload) = random.microBatch()
        let frame = try description.frame(
            flags: .wantsLogits, instance: Self.instance, generation: 2, payload: payload)
        #expect(try MicroBatchDescription(decoding: frame) == description, "seed \(seed)")
    }

    @Test("random outputs survive", arguments: 0..<100 as Range<UInt64>)
    func outputsRoundTrip(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let (description, payload) = random.outputs()
        let frame = try description.frame(number: 8, instance: Self.instance, generation: 2, payload: payload)
        #expect(try OutputsDescription(decoding: frame) == description, "seed \(seed)")
    }

    @Test("a micro-batch cut at any offset is refused")
    func truncatedMicroBatch() {
        for length in 0..<Self.goldenMicroBatch.count {
            let bytes = Array(Self.goldenMicroBatch.prefix(length))
            let error = #expect(throws: ShoalError.self, "\(length) bytes") {
                try MicroBatchDescription(decoding: Self.microBatchFrame(bytes, payload: [1, 2, 3, 4]))
            }
            #expect(error?.code == .protocolViolation)
        }
    }

    @Test("outputs cut at any offset are refused", arguments: 0..<10 as Range<UInt64>)
    func truncatedOutputs(seed: UInt64) throws {
        var random = SeededRandom(seed: seed)
        let (description, payload) = random.outputs()
        let frame = try description.frame(number: 8, instance: Self.instance, generation: 2, payload: payload)
        for length in 0..<frame.description.readableBytes {
            var cut = frame
            cut.description = ByteBuffer(bytes: frame.description.byteArray.prefix(length))
            #expect(throws: ShoalError.self, "seed \(seed), \(length) bytes") { try OutputsDescription(decoding: cut) }
        }
    }

    @Test(
        "a hostile micro-batch is refused with its reason",
        arguments: [
            ([0xFF, 0xFF, 0xFF, 0xFF], "KV operation count 4294967295; the limit is"),
            ([0, 0, 4, 0], "more than its 0 remaining bytes"),
            ([0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF], "entry count 4294967295; the limit is"),
            ([0, 0, 0, 0, 0, 0, 0x10, 0, 0], "entry count 4096, more than its 1 remaining bytes"),
            ([0, 0, 0, 1, 9], "unknown KV operation, 9"),
            ([0, 0, 0, 1, 3, 0xFF, 0xFF, 0xFF, 0xFF], "negative KV sequence, -1"),
            ([0, 0, 0, 1, 3, 0, 0, 1, 0], "KV sequence 256; the limit is 255"),
            ([0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 4], "ends at 4, before its start 5"),
            (
                [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0],
                "negative entry position, -1"
            ),
            ([0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0], "output flag 2"),
            ([0, 0, 0, 0, 0, 0, 0, 0, 1, 7], "unknown element type, 7"),
            ([0, 0, 0, 0, 0, 0, 0, 0, 0, 65], "times of 65 stages; the limit is"),
            ([0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0], "ends inside queue time"),
            ([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "1 bytes after its last field"),
        ] as [([UInt8], String)])
    func hostileMicroBatch(bytes: [UInt8], reason: String) {
        let error = #expect(throws: ShoalError.self) {
            try MicroBatchDescription(decoding: Self.microBatchFrame(bytes))
        }
        #expect(error?.code == .protocolViolation)
        #expect(error?.message.contains(reason) == true, "\(error?.message ?? "")")
    }

    @Test("a payload that disagrees with the shape is refused", arguments: [0, 3, 5, 4096])
    func payloadMismatch(byteCount: Int) {
        #expect(throws: ShoalError.self) {
            try MicroBatchDescription(
                decoding: Self.microBatchFrame(Self.goldenMicroBatch, payload: [UInt8](repeating: 0, count: byteCount)))
        }
    }

    @Test("a shape that overflows, or that has another number of rows than entries, is refused")
    func shapeMismatch() {
        var wide = Self.goldenMicroBatch
        let end = wide.count - Self.goldenTimes.count
        wide.replaceSubrange((end - 4)..<end, with: [0xFF, 0xFF, 0xFF, 0xFF])
        var tall = Self.goldenMicroBatch
        tall[end - 5] = 2
        for bytes in [wide, tall] {
            #expect(throws: ShoalError.self) {
                try MicroBatchDescription(decoding: Self.microBatchFrame(bytes, payload: [1, 2, 3, 4]))
            }
        }
    }

    @Test("rows that are not whole blocks are refused")
    func brokenBlocks() {
        let tensor = TensorDescription(elementType: .q8, rowCount: 2, width: 64)
        #expect(tensor.payloadByteCount == 2 * 2 * 34)
        #expect(TensorDescription(elementType: .q8, rowCount: 2, width: 63).payloadByteCount == nil)
        let entry = BatchEntry(
            sequence: SequenceID(rawValue: 0), position: 0, token: TokenID(rawValue: 0), wantsOutput: false)
        #expect(throws: ShoalError.self) {
            try MicroBatchDescription(
                batch: MicroBatch(number: 1, entries: [entry]),
                activations: TensorDescription(elementType: .q8, rowCount: 1, width: 33)
            ).frame(instance: Self.instance, generation: 0, payload: ByteBuffer(repeating: 0, count: 34))
        }
    }

    @Test("entries are counted without reading them, behind any KV operations, and not in what is no micro-batch")
    func entryCount() throws {
        let entry = BatchEntry(
            sequence: SequenceID(rawValue: 0), position: 0, token: TokenID(rawValue: 0), wantsOutput: false)
        let batch = MicroBatch(
            number: 1, kvOperations: [.remove(SequenceID(rawValue: 1), from: 0, to: 9), .clear],
            entries: [entry, entry, entry])
        let frame = try MicroBatchDescription(batch: batch, activations: nil)
            .frame(instance: Self.instance, generation: 1)
        #expect(MicroBatchDescription.entryCount(of: frame) == 3)
        #expect(MicroBatchDescription.entryCount(of: Frame(kind: .microBatch)) == nil)
    }

    @Test("a node fills in what it measured of its own stage, and leaves frames without times alone")
    func hostTimes() throws {
        var expected = MicroBatchDescription(
            batch: MicroBatch(number: 1, entries: []), activations: nil, stages: [Self.times, Self.times])
        var frame = try expected.frame(instance: Self.instance, generation: 1)
        frame.setHostTimes(queue: 40, engine: 1000, link: 70000)
        expected.stages[1].queue = 40
        expected.stages[1].engine = 1000
        expected.stages[1].link = 70000
        #expect(try MicroBatchDescription(decoding: frame) == expected)

        let untimed = try MicroBatchDescription(batch: expected.batch, activations: nil)
            .frame(instance: Self.instance, generation: 1)
        var touched = untimed
        touched.setHostTimes(queue: 40, engine: 1000, link: 70000)
        #expect(touched == untimed)

        var outputs = try OutputsDescription(tokens: [], logits: nil, stages: [Self.times])
            .frame(number: 1, instance: Self.instance, generation: 1)
        outputs.setHostTimes(queue: 0, engine: 9, link: 0)
        #expect(try OutputsDescription(decoding: outputs).stages.map(\.engine) == [9])
    }

    @Test("a payload without a tensor is refused")
    func payloadWithoutTensor() {
        #expect(throws: ShoalError.self) {
            try MicroBatchDescription(
                decoding: Self.microBatchFrame([0, 0, 0, 0, 0, 0, 0, 0, 0, 0], payload: [1]))
        }
    }

    @Test("a batch that a receiver would refuse cannot be made into a frame")
    func oversizedBatch() {
        let entry = BatchEntry(
            sequence: SequenceID(rawValue: 0), position: 0, token: TokenID(rawValue: 1), wantsOutput: false)
        let batch = MicroBatch(
            number: 1, entries: Array(repeating: entry, count: Limits.microBatchTokenCountMax + 1))
        #expect(throws: ShoalError.self) {
            try MicroBatchDescription(batch: batch, activations: nil).frame(instance: Self.instance, generation: 0)
        }
    }

    @Test("logits of another type than float32 are refused")
    func halfLogits() {
        let token = SampledToken(
            sequence: SequenceID(rawValue: 1), token: TokenID(rawValue: 7), piece: [], isEndOfGeneration: true)
        let tensor = TensorDescription(elementType: .float16, rowCount: 1, width: 1)
        let description = OutputsDescription(tokens: [token], logits: tensor)
        #expect(throws: ShoalError.self) {
            try description.frame(
                number: 1, instance: Self.instance, generation: 0, payload: ByteBuffer(bytes: [0, 0]))
        }
    }
}
