internal import ShoalModel

/// GET_ALLOC_SIZE: the device, and what of the tensor and its sources the answer depends on.
package struct AllocSizeQuestion: Sendable, Hashable {
    package let device: UInt32
    /// Of the tensor and its ten sources, as `RPCTensor.sizeQuestion` has them.
    private let tensors: [UInt8]

    /// `front` is a whole body of GET_ALLOC_SIZE.
    init(_ front: some RandomAccessCollection<UInt8>) {
        device = LittleEndian.read(from: front, at: 0)
        tensors = (0..<11).flatMap { RPCTensor.sizeQuestion(front.dropFirst(4 + $0 * RPCTensor.byteCount)) }
    }

    /// ggml's number; 0 for a tensor that nothing computes, such as a weight.
    var operation: UInt32 { LittleEndian.read(from: tensors, at: 38) }

    /// `ggml_nbytes`: the bytes from the tensor's first to its last element. Nil for a type that is not known.
    var tensorByteCount: UInt64? {
        guard let type = GGMLType(rawValue: LittleEndian.read(from: tensors, at: 2)) else { return nil }
        let counts = (0..<4).map { UInt64(LittleEndian.read(UInt32.self, from: tensors, at: 6 + 4 * $0)) }
        let strides = (0..<4).map { UInt64(LittleEndian.read(UInt32.self, from: tensors, at: 22 + 4 * $0)) }
        guard counts.allSatisfy({ $0 > 0 }) else { return 0 }
        let block = UInt64(type.blockElementCount)
        var sum = block == 1 ? UInt64(type.blockByteCount) : counts[0] * strides[0] / block
        for index in (block == 1 ? 0 : 1)..<4 {
            // A product of two 32-bit numbers fits.
            let (next, overflow) = sum.addingReportingOverflow((counts[index] - 1) * strides[index])
            guard !overflow else { return nil }
            sum = next
        }
        return sum
    }
}

/// Which answers to GET_ALLOC_SIZE can be guessed: most devices say exactly the size of the tensor.
///
/// A device is trusted after its own node has seen that it pads no quantized row. What an operation needs in addition
/// is a matter of its own: it is guessed after the device has said once that this operation needs nothing, and never
/// after it has said anything else.
struct AllocSizeGuessing: Sendable {
    private struct Operation: Hashable {
        var device: UInt32
        var number: UInt32
    }

    private var trustedDevices: Set<UInt32> = []
    private var exactOperations: Set<Operation> = []
    private var expandingOperations: Set<Operation> = []

    /// What more answers tell could not be kept: a wrong guess might be made again and again.
    private var isFull: Bool {
        exactOperations.count + expandingOperations.count >= RPCLimits.knownOperationCountMax
    }

    mutating func trust(device: UInt32) { trustedDevices.insert(device) }

    mutating func trust(devicesOf other: AllocSizeGuessing) { trustedDevices.formUnion(other.trustedDevices) }

    mutating func learn(_ answer: [UInt8], to question: AllocSizeQuestion) {
        let operation = Operation(device: question.device, number: question.operation)
        guard !isFull else { return }
        let isExact = question.tensorByteCount.map { LittleEndian.bytes($0) == answer } ?? false
        if isExact { exactOperations.insert(operation) } else { expandingOperations.insert(operation) }
    }

    func guess(_ question: AllocSizeQuestion) -> [UInt8]? {
        let operation = Operation(device: question.device, number: question.operation)
        guard !isFull, trustedDevices.contains(question.device), !expandingOperations.contains(operation),
            operation.number == 0 || exactOperations.contains(operation)
        else { return nil }
        return question.tensorByteCount.map { LittleEndian.bytes($0) }
    }
}

/// An answer that llama-server was given before the rpc-server was asked.
package struct UncheckedGuess: Sendable, Hashable {
    var request: RPCRequest
    var question: ProbeQuestion
    var answer: [UInt8]
}
