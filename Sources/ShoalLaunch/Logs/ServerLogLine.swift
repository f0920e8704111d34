/// What one line of llama-server's or ggml-rpc-server's log means to whoever watches the launch.
package enum ServerLogLine: Hashable, Sendable {
    /// Which memory of which device a buffer is.
    package enum BufferKind: Hashable, Sendable {
        case model, cache, compute
    }

    /// "using device RPC0 (127.0.0.1:50001) … MiB free": devices are being taken, model loading begins.
    case device(name: String)
    /// `device` is "RPC0[127.0.0.1:50001]", "CPU", "CPU_Mapped", "CUDA0".
    case buffer(BufferKind, device: String, mebibytes: Double)
    case loadingTensors
    case offloaded(layerCount: Int, of: Int)
    case warmingUp
    case modelLoaded
    case listening
    /// Alarming to read, and normal.
    case benign(String)
    case failure(ProcessFailure, String)
    case other

    /// Of build b11434 and its neighbours; the prefix "0.00.228.017 I load_tensors: " varies and is not looked at.
    package init(classifying line: String) {
        guard ServerLogLine.marks.areIn(line) else {
            self = .other
            return
        }
        if let buffer = ServerLogLine.buffer(in: line) {
            self = buffer
        } else if let reason = ServerLogLine.benignReason(of: line) {
            self = .benign(reason)
        } else if let failure = ProcessFailure(logLine: line) {
            self = .failure(failure, line)
        } else if let name = line.word(after: Mark.device) {
            self = .device(name: name)
        } else if line.contains(Mark.loadingTensors) {
            self = .loadingTensors
        } else if let counts = ServerLogLine.offloaded(in: line) {
            self = counts
        } else if line.contains(Mark.warmingUp) {
            self = .warmingUp
        } else if line.hasSuffix(Mark.modelLoaded) {
            self = .modelLoaded
        } else if line.contains(Mark.listening) {
            self = .listening
        } else {
            self = .other
        }
    }

    /// Whether a launch, or its failure, can be told by it.
    package var matters: Bool {
        switch self {
        case .other, .benign: false
        case .device, .buffer, .loadingTensors, .offloaded, .warmingUp, .modelLoaded, .listening, .failure: true
        }
    }

    private enum Mark {
        static let device = "using device "
        static let loadingTensors = "loading model tensors"
        static let offloaded = "offloaded "
        static let warmingUp = "warming up the model"
        static let modelLoaded = "model loaded"
        static let listening = "listening on http"
        static let steps = [device, loadingTensors, offloaded, warmingUp, modelLoaded, listening]
    }

    /// All that any line other than `other` has.
    private static let marks = LineMarks(
        buffers.map(\.mark) + benign.map(\.mark) + ProcessFailure.marks.map(\.mark) + Mark.steps)

    private static let buffers: [(mark: String, kind: BufferKind)] = [
        (" model buffer size =", .model), (" KV buffer size =", .cache), (" RS buffer size =", .cache),
        (" compute buffer size =", .compute),
    ]

    private static func buffer(in line: String) -> ServerLogLine? {
        for (mark, kind) in buffers {
            guard let range = line.firstRange(of: mark) else { continue }
            let device = line[..<range.lowerBound].split(separator: " ").last.map(String.init)
            let size = line[range.upperBound...].split(separator: " ").first.flatMap { Double($0) }
            guard let device, let size else { return nil }
            return .buffer(kind, device: device, mebibytes: size)
        }
        return nil
    }

    private static func offloaded(in line: String) -> ServerLogLine? {
        guard let fraction = line.word(after: Mark.offloaded), line.hasSuffix("layers to GPU") else { return nil }
        let parts = fraction.split(separator: "/").compactMap { Int($0) }
        return parts.count == 2 ? .offloaded(layerCount: parts[0], of: parts[1]) : nil
    }

    /// Known harmless lines and why they are.
    private static let benign: [(mark: String, reason: String)] = [
        ("Null buffer for tensor", "tensors without storage are announced, and skipped"),
        ("null buffer passed to init_tensor", "tensors without storage are announced, and skipped"),
        ("recv returned 0", "a client closed its connection, as llama-server does many times while it starts"),
        ("Client connection closed", "llama-server opens and closes connections while it starts"),
        ("no API key is set", "llama-server listens on loopback only; the node in front decides who gets in"),
        ("is not compatible with --cache-idle-slots", "the prompt cache is off on purpose"),
        ("--cache-idle-slots requires --cache-ram", "the prompt cache is off on purpose"),
        ("prompt cache is disabled", "the prompt cache is off on purpose"),
        ("the full capacity of the model will not be utilized", "the context was chosen by the request"),
        ("Never expose the RPC server to an open network", "it listens on loopback only"),
        ("This is a debug build", "slow, not wrong"),
        ("resource temporarily unavailable", "the other side is not ready yet"),
        ("the default port", "the port is given"),
    ]

    private static func benignReason(of line: String) -> String? {
        benign.first { line.contains($0.mark) }?.reason
    }
}

extension String {
    /// The word that follows `mark`.
    fileprivate func word(after mark: String) -> String? {
        guard let range = firstRange(of: mark) else { return nil }
        return self[range.upperBound...].split(separator: " ").first.map(String.init)
    }
}
