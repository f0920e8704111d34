package import ShoalCore

/// Asks an rpc-server who it is: HELLO, DEVICE_COUNT, then GET_DEVICE_MEMORY of each device; then what llama-server
/// will ask as well and a head may then answer itself. A value: bytes in, bytes out.
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
        case alignment(Int)
        case maxSize(Int)
        case padding(Int)

        /// Whether a server that does not answer it can be used.
        var isOptional: Bool {
            switch self {
            case .hello, .deviceCount, .memory: false
            case .alignment, .maxSize, .padding: true
            }
        }

        var command: RPCCommand {
            switch self {
            case .hello: .hello
            case .deviceCount: .deviceCount
            case .memory: .getDeviceMemory
            case .alignment: .getAlignment
            case .maxSize: .getMaxSize
            case .padding: .getAllocSize
            }
        }
    }

    private var question = Question.hello
    private var buffer: [UInt8] = []
    private var version = ""
    private var hello: [UInt8] = []
    private var deviceCount: UInt32 = 0
    private var devices: [RPCServerFacts.Device] = []

    package init() {}

    /// The first bytes to send.
    package var opening: [UInt8] { RPCRequest(.hello, body: Array(repeating: 0, count: 24)).bytes }

    /// What is known if the server says nothing more; nil when that is too little.
    package var factsSoFar: RPCServerFacts? {
        guard question.isOptional else { return nil }
        return RPCServerFacts(protocolVersion: version, devices: devices)
    }

    /// Bytes of the server, in any chunks. Throws `protocolViolation` for a server that cannot be used, in words.
    package mutating func received(_ bytes: some Sequence<UInt8>) throws(ShoalError) -> Step {
        buffer.append(contentsOf: bytes)
        guard case .exactly(let size) = question.command.replySize, buffer.count >= 8 else { return .wait }
        guard LittleEndian.read(UInt64.self, from: buffer, at: 0) == size else {
            if let factsSoFar { return .done(factsSoFar) }
            throw ShoalError(
                .protocolViolation, "it answered \(question.command) as no rpc-server of protocol 7 does")
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
            hello = body.prefix(4) + Array(repeating: 0, count: 24)
            return ask(.deviceCount)
        case .deviceCount:
            deviceCount = LittleEndian.read(from: body, at: 0)
            guard (1...RPCLimits.deviceCountMax).contains(deviceCount) else {
                throw ShoalError(.protocolViolation, "it says that it has \(deviceCount) devices")
            }
            return ask(.memory)
        case .memory:
            devices.append(
                RPCServerFacts.Device(
                    freeByteCount: LittleEndian.read(from: body, at: 0),
                    totalByteCount: LittleEndian.read(from: body, at: 8)))
            return ask(devices.count == Int(deviceCount) ? .alignment(0) : .memory)
        case .alignment(let index):
            devices[index].alignment = LittleEndian.read(from: body, at: 0)
            return ask(.maxSize(index))
        case .maxSize(let index):
            devices[index].maxByteCount = LittleEndian.read(from: body, at: 0)
            return ask(.padding(index))
        case .padding(let index):
            devices[index].addsNoPadding = body == LittleEndian.bytes(Sample.byteCount)
            guard index + 1 == devices.count else { return ask(.alignment(index + 1)) }
            var facts = RPCServerFacts(protocolVersion: version, devices: devices)
            facts.hello = hello
            return .done(facts)
        }
    }

    private mutating func ask(_ next: Question) -> Step {
        question = next
        return .send(request(next).bytes)
    }

    private func request(_ question: Question) -> RPCRequest {
        switch question {
        case .hello, .deviceCount: RPCRequest(question.command)
        case .memory: RPCRequest(.getDeviceMemory, body: LittleEndian.bytes(UInt32(devices.count)))
        case .alignment(let index), .maxSize(let index):
            RPCRequest(question.command, body: LittleEndian.bytes(UInt32(index)))
        case .padding(let index): Sample.request(device: UInt32(index))
        }
    }

    /// A weight of four rows of 96 numbers as q4_0: a device that pads rows, pads these to 512.
    private enum Sample {
        static let byteCount: UInt64 = 216

        static func request(device: UInt32) -> RPCRequest {
            var tensor: [UInt8] = LittleEndian.bytes(UInt64(1)) + LittleEndian.bytes(UInt32(2))
            tensor += LittleEndian.bytes(UInt64(0))
            for number in [96, 4, 1, 1, 18, 54, 216, 216] as [UInt32] { tensor += LittleEndian.bytes(number) }
            let rest = 11 * RPCTensor.byteCount - tensor.count
            return RPCRequest(
                .getAllocSize, body: LittleEndian.bytes(device) + tensor + Array(repeating: 0, count: rest))
        }
    }
}
