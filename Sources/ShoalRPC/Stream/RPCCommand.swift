/// A command of llama.cpp's RPC protocol 7.0.
///
/// A request is the command (1 byte), the size of its body (8 bytes) and the body; a reply the size of its body and the
/// body, without a number: replies come in the order of the requests that have one. Everything is little-endian.
/// Source: `enum rpc_cmd` and `rpc_serve_client` in ggml-rpc.cpp, at the pinned commit.
package enum RPCCommand: UInt8, Sendable, Hashable, CaseIterable {
    case allocBuffer = 0
    case getAlignment = 1
    case getMaxSize = 2
    case bufferGetBase = 3
    case freeBuffer = 4
    case bufferClear = 5
    case setTensor = 6
    case setTensorHash = 7
    case getTensor = 8
    case copyTensor = 9
    case graphCompute = 10
    case getDeviceMemory = 11
    case initTensor = 12
    case getAllocSize = 13
    case hello = 14
    case deviceCount = 15
    case graphRecompute = 16
    case memsetTensor = 17

    /// What its request's body may be.
    package enum RequestSize: Sendable, Hashable {
        case exactly(UInt64)
        /// At least and at most so many bytes.
        case between(UInt64, UInt64)

        package func contains(_ byteCount: UInt64) -> Bool {
            switch self {
            case .exactly(let size): byteCount == size
            case .between(let least, let most): (least...most).contains(byteCount)
            }
        }
    }

    /// What its reply's body is.
    package enum ReplySize: Sendable, Hashable {
        case none
        case exactly(UInt64)
        /// As many bytes as the request asks for, in the last eight bytes of its body.
        case asRequested
    }

    package var requestSize: RequestSize {
        let tensor = UInt64(RPCTensor.byteCount)
        return switch self {
        case .hello: .exactly(24)
        case .deviceCount: .exactly(0)
        case .getAlignment, .getMaxSize, .getDeviceMemory, .graphRecompute: .exactly(4)
        case .bufferGetBase, .freeBuffer: .exactly(8)
        case .bufferClear: .exactly(9)
        case .allocBuffer: .exactly(12)
        case .initTensor: .exactly(tensor)
        case .setTensorHash, .getTensor: .exactly(tensor + 16)
        case .memsetTensor: .exactly(tensor + 17)
        case .copyTensor: .exactly(2 * tensor)
        case .getAllocSize: .exactly(4 + 11 * tensor)
        case .graphCompute: .between(12, RPCLimits.graphByteCountMax)
        case .setTensor: .between(UInt64(SetTensorHead.byteCount), RPCLimits.tensorByteCountMax)
        }
    }

    package var replySize: ReplySize {
        switch self {
        case .freeBuffer, .bufferClear, .setTensor, .graphCompute, .initTensor, .graphRecompute, .memsetTensor: .none
        case .hello: .exactly(28)
        case .deviceCount: .exactly(4)
        case .getAlignment, .getMaxSize, .bufferGetBase, .getAllocSize: .exactly(8)
        case .allocBuffer, .getDeviceMemory: .exactly(16)
        case .setTensorHash, .copyTensor: .exactly(1)
        case .getTensor: .asRequested
        }
    }

    /// How much of its body is looked at; the rest streams by.
    package var lookedAtByteCount: Int {
        switch requestSize {
        case .exactly(let size): Int(size)
        case .between: self == .setTensor ? SetTensorHead.byteCount : 0
        }
    }
}
