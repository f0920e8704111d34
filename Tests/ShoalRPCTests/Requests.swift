@testable import ShoalRPC

/// Requests as llama-server makes them, and whole streams of random ones.
enum Requests {
    static let hello = RPCRequest(.hello, body: Array(repeating: 0, count: 24)).bytes

    /// An `rpc_tensor`.
    static func tensor(
        _ name: String, type: UInt32 = 0, dimensions: [UInt32] = [4, 1, 1, 1], buffer: UInt64 = 7, id: UInt64 = 1
    ) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: RPCTensor.byteCount)
        func put(_ number: some FixedWidthInteger, at offset: Int) {
            bytes.replaceSubrange(offset..<offset + number.bitWidth / 8, with: LittleEndian.bytes(number))
        }
        put(id, at: 0)
        put(type, at: 8)
        put(buffer, at: 12)
        for (index, size) in dimensions.enumerated() { put(size, at: 20 + 4 * index) }
        bytes.replaceSubrange(228..<228 + name.utf8.count, with: Array(name.utf8))
        return bytes
    }

    static func setTensor(_ tensor: [UInt8], offset: UInt64 = 0, data: [UInt8], cacheFlag: UInt8 = 0) -> [UInt8] {
        RPCRequest(.setTensor, body: tensor + [cacheFlag] + LittleEndian.bytes(offset) + data).bytes
    }

    static func getTensor(_ tensor: [UInt8], byteCount: UInt64) -> [UInt8] {
        RPCRequest(.getTensor, body: tensor + LittleEndian.bytes(UInt64(0)) + LittleEndian.bytes(byteCount)).bytes
    }

    static func getAllocSize(device: UInt32 = 0, _ tensors: [[UInt8]]) -> [UInt8] {
        let none = [UInt8](repeating: 0, count: RPCTensor.byteCount)
        let all = (0..<11).flatMap { $0 < tensors.count ? tensors[$0] : none }
        return RPCRequest(.getAllocSize, body: LittleEndian.bytes(device) + all).bytes
    }

    static func reply(_ body: [UInt8]) -> [UInt8] { LittleEndian.bytes(UInt64(body.count)) + body }

    static let helloReply = reply([7, 0, 0, 0] + Array(repeating: 0, count: 24))

    /// A HELLO and `count` requests of any kind.
    static func random(_ count: Int, using random: inout SeededRandom) -> [[UInt8]] {
        let commands = RPCCommand.allCases.filter { $0 != .hello }
        return [hello]
            + (0..<count).map { _ in
                let command = commands.randomElement(using: &random) ?? .deviceCount
                switch command.requestSize {
                case .exactly(let size): return RPCRequest(command, body: random.bytes(Int(size))).bytes
                case .between(let least, _):
                    let size = Int(least) + Int.random(in: 0...9000, using: &random)
                    return RPCRequest(command, body: random.bytes(size)).bytes
                }
            }
    }
}
