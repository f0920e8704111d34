/// Why llama-server or a worker ended or will end, as far as its own words and its exit tell.
package enum ProcessFailure: String, Hashable, Sendable, Codable, CaseIterable {
    /// A worker's connection broke: its process, its node or the link to it.
    case workerLost
    /// The worker speaks another version of the protocol.
    case protocolMismatch
    case outOfMemory
    case gpuDriver
    case portInUse
    case modelUnreadable
    /// The program does not know an option of its command line.
    case badOption
    case diskFull
    /// Killed by somebody.
    case killed
    /// Anything else.
    case crash

    /// What the end of a process was, from its last lines; `signal` is the one that ended it. The most telling line
    /// decides, wherever it stands: what follows it are consequences.
    package init(signal: Int32?, logTail: [String]) {
        let told = Set(logTail.compactMap { ProcessFailure(logLine: $0) })
        if let cause = ProcessFailure.mostTellingFirst.first(where: told.contains) {
            self = cause
        } else {
            self = signal == 9 || signal == 15 || signal == 2 ? .killed : .crash
        }
    }

    private static let mostTellingFirst: [ProcessFailure] = [
        .protocolMismatch, .outOfMemory, .gpuDriver, .diskFull, .portInUse, .badOption, .workerLost, .modelUnreadable,
    ]

    /// Lines that name a cause; nil for all others.
    package init?(logLine line: String) {
        let text = line.lowercased()
        guard let match = ProcessFailure.marks.first(where: { text.contains($0.mark) }) else { return nil }
        self = match.failure
    }

    /// Most specific first. Sources: ggml-rpc.cpp, server.cpp, server-http.cpp, llama-model.cpp, the GPU backends.
    static let marks: [(mark: String, failure: ProcessFailure)] = [
        ("version mismatch", .protocolMismatch),
        ("expected hello command", .protocolMismatch),
        ("hello request size mismatch", .protocolMismatch),
        ("rpc handshake failed", .protocolMismatch),
        ("remote rpc server crashed", .workerLost),
        ("failed to connect to ", .workerLost),
        ("failed to allocate buffer", .outOfMemory),
        ("unable to allocate", .outOfMemory),
        ("failed to allocate compute", .outOfMemory),
        ("failed to allocate input buffer", .outOfMemory),
        ("out of memory", .outOfMemory),
        ("erroroutofdevicememory", .outOfMemory),
        ("cudaerror", .gpuDriver),
        ("cuda error", .gpuDriver),
        ("hip error", .gpuDriver),
        ("rocm error", .gpuDriver),
        ("vk::", .gpuDriver),
        ("device lost", .gpuDriver),
        ("command buffer failed", .gpuDriver),
        ("failed with status", .gpuDriver),
        ("couldn't bind http server socket", .portInUse),
        ("failed to create server socket", .portInUse),
        ("no space left on device", .diskFull),
        ("unknown argument", .badOption),
        ("invalid argument", .badOption),
        ("unknown model architecture", .modelUnreadable),
        ("error loading model", .modelUnreadable),
        ("failed to load model", .modelUnreadable),
        ("failed to open gguf", .modelUnreadable),
        ("invalid magic", .modelUnreadable),
    ]

    /// The line of `logTail` that tells this failure, without the time or the source file in front of it; nil when it
    /// was told by nothing but the exit.
    package func words(in logTail: [String]) -> String? {
        guard let line = logTail.last(where: { ProcessFailure(logLine: $0) == self }) else { return nil }
        // "/some/where/ggml-rpc.cpp:566: Remote RPC server …" and "0.00.008.524 E srv  start: couldn't …".
        if let source = line.firstRange(of: ".cpp:"), let colon = line[source.upperBound...].firstIndex(of: ":") {
            return String(line[line.index(after: colon)...].drop { $0 == " " })
        }
        return String(line.drop { $0.isNumber || $0 == "." || $0 == " " })
    }

    /// For people: what to think of it and what to do.
    package var advice: String {
        switch self {
        case .workerLost: "the connection to a worker broke"
        case .protocolMismatch: "the workers' llama.cpp speaks another RPC version; install one build everywhere"
        case .outOfMemory: "memory ran out; give this device fewer layers, or the requests a shorter context"
        case .gpuDriver: "the GPU's driver failed; see the log, and whether the GPU still answers"
        case .portInUse: "its port was taken by another program in the meantime"
        case .modelUnreadable: "the model's file cannot be used by this llama.cpp"
        case .badOption: "this build of llama.cpp does not know an option"
        case .diskFull: "the disk is full"
        case .killed: "somebody or something killed it"
        case .crash: "it crashed; its last words are in the log"
        }
    }

    /// Whether the same attempt must fail again.
    package var isPermanent: Bool {
        switch self {
        case .protocolMismatch, .modelUnreadable, .badOption: true
        case .workerLost, .outOfMemory, .gpuDriver, .portInUse, .diskFull, .killed, .crash: false
        }
    }
}
