import ShoalCore
import ShoalDiscovery
import Testing

@Suite("Beacons as bytes")
struct BeaconCodecTests {
    private func beacon(_ id: String = "ab01") throws -> Beacon {
        Beacon(
            kind: .announcement, protocolNumber: 3, cluster: Samples.cluster, node: try #require(NodeID(id)),
            linkPort: 0x1D25)
    }

    @Test("the bytes are those of the specification")
    func golden() throws {
        let expected: [UInt8] = [
            0x53, 0x48, 0x42, 0x4E, 1, 1, 3, 0, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x1D, 0x25, 4, 0xAB,
            0x01,
        ]
        #expect(BeaconCodec.encode(try beacon()) == expected)
    }

    @Test("ids of every length survive", arguments: 1...64)
    func roundTrip(count: Int) throws {
        let beacon = try beacon(
            String("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef".prefix(count)))
        let bytes = BeaconCodec.encode(beacon)
        #expect(bytes.count <= BeaconCodec.byteCountMax)
        #expect(try BeaconCodec.decode(bytes) == beacon)
    }

    @Test("a beacon that is cut anywhere, or has a byte too many, is refused")
    func truncated() throws {
        let bytes = BeaconCodec.encode(try beacon("abc"))
        for count in 0..<bytes.count {
            #expect(throws: ShoalError.self, "\(count) bytes") { try BeaconCodec.decode(Array(bytes.prefix(count))) }
        }
        #expect(throws: ShoalError.self) { try BeaconCodec.decode(bytes + [0]) }
    }

    @Test(
        "each wrong field is named",
        arguments: [
            (0, UInt8(0), "SHBN"), (4, 9, "format 9"), (5, 7, "kind 7"), (7, 1, "reserved"), (18, 0, "id of 0"),
            (18, 65, "id of 65"), (18, 3, "bits after"),
        ])
    func wrongField(offset: Int, value: UInt8, words: String) throws {
        var bytes = BeaconCodec.encode(try beacon())
        bytes[offset] = value
        let error = #expect(throws: ShoalError.self) { try BeaconCodec.decode(bytes) }
        #expect(error?.message.contains(words) == true, "\(String(describing: error))")
    }

    @Test("link port 0 is refused")
    func portZero() throws {
        var bytes = BeaconCodec.encode(try beacon())
        bytes.replaceSubrange(16..<18, with: [0, 0])
        #expect(throws: ShoalError.self) { try BeaconCodec.decode(bytes) }
    }

    @Test("random bytes never trap, and what is read is written the same", arguments: [1, 2, 3, 4] as [UInt64])
    func hostile(seed: UInt64) throws {
        var random = Random(seed: seed)
        let valid = BeaconCodec.encode(try beacon("0123456789abcdef0123456789abcdef"))
        for round in 0..<5000 {
            var bytes = round.isMultiple(of: 2) ? valid : (0..<Int.random(in: 0...80, using: &random)).map { _ in 0 }
            for _ in 0..<Int.random(in: 0...4, using: &random) where !bytes.isEmpty {
                bytes[Int.random(in: bytes.indices, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            guard let beacon = try? BeaconCodec.decode(bytes) else { continue }
            #expect(BeaconCodec.encode(beacon) == bytes, "seed \(seed), round \(round)")
        }
    }
}

/// A generator whose numbers its seed determines.
struct Random: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed | 1 }

    mutating func next() -> UInt64 {
        state ^= state << 13
        state ^= state >> 7
        state ^= state << 17
        return state &* 0x2545_F491_4F6C_DD1D
    }
}
