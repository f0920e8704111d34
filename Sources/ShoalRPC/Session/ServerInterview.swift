package import ShoalCore

/// Asks an rpc-server who it is: HELLO, DEVICE_COUNT, then GET_DEVICE_MEMORY of each device. A value: bytes in, bytes
/// out.
package struct ServerInterview: Sendable {
    package enum Step: Sendable, Hashable {
        /// Send these bytes, then wait for more.
        case send([UInt8])
        case wait
        case done(RPCServerFacts)
    }

    private enum Question {
        case hello
        case deviceCount
        case memory
    }

    private var question = Question.hello
    private var buffer: [UInt8] = []
    private var version = ""
    private var deviceCount: UInt32 = 0
    private var devices: [RPCServerFacts.Device] = []

    package init() {}

    /// The first bytes to send.
    package var opening: [UInt8] { RPCRequest(.hello, body: Array(repeating: 0, count: 24)).bytes }

    /// Bytes of the server, in any chunks. Throws `protocolViolation` for a server that cannot be used, in words.
    package mutating func received(_ bytes: some Sequence<UInt8>) throws(ShoalError) -> Step {
        buffer.append(contentsOf: bytes)
        let command: RPCCommand =
            switch question {
            case .hello: .hello
            case .deviceCount: .deviceCount
            case .memory: .getDeviceMemory
            }
        guard case .exactly(let size) = command.replySize, buffer.count >= 8 else { return .wait }
        guard LittleEndian.read(UInt64.self, from: buffer, at: 0) == size else {
            throw ShoalError(.protocolViolation, "it answered \(command) as no rpc-server of protocol 7 does")
        }
        guard buffer.count >= 8 + Int(size) else { return .wait }
        guard buffer.count == 8 + Int(size) else {
            throw ShoalError(.protocolViolation, "it answered more than it was asked")
        }
        let body = Array(buffer.dropFirst(8))
        buffer = []
        return try answered(body)
    }

    private mutating func answered(_ body: [UInt8]) throws(ShoalError) -> Step {
        switch question {
        case .hello:
            version = "\(body[0]).\(body[1]).\(body[2])"
            guard body[0] == RPCLimits.majorVersion else {
                throw ShoalError(
                    .protocolViolation,
                    "it speaks RPC protocol \(version), this Shoal \(RPCLimits.majorVersion).0; install the same "
                        + "llama.cpp build on all nodes")
            }
            question = .deviceCount
            return .send(RPCRequest(.deviceCount).bytes)
        case .deviceCount:
            deviceCount = LittleEndian.read(from: body, at: 0)
            guard (1...RPCLimits.deviceCountMax).contains(deviceCount) else {
                throw ShoalError(.protocolViolation, "it says that it has \(deviceCount) devices")
            }
            question = .memory
            return .send(memoryRequest)
        case .memory:
            devices.append(
                RPCServerFacts.Device(
                    freeByteCount: LittleEndian.read(from: body, at: 0),
                    totalByteCount: LittleEndian.read(from: body, at: 8)))
            guard devices.count == Int(deviceCount) else { return .send(memoryRequest) }
            return .done(RPCServerFacts(protocolVersion: version, devices: devices))
        }
    }

    private var memoryRequest: [UInt8] {
        RPCRequest(.getDeviceMemory, body: LittleEndian.bytes(UInt32(devices.count))).bytes
    }
}
