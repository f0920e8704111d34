package import ShoalCore

/// How llama-server is to be run for one instance; `arguments(help:)` is its command line.
package struct ServerCommand: Hashable, Sendable {
    /// One `ggml-rpc-server` as llama-server reaches it.
    package struct Worker: Hashable, Sendable {
        /// "127.0.0.1:PORT": the head's end of the tunnel, never the worker itself.
        package var endpoint: String
        /// Layers of each of its devices, in the worker's order.
        package var deviceLayerCounts: [Int]

        package init(endpoint: String, deviceLayerCounts: [Int]) {
            self.endpoint = endpoint
            self.deviceLayerCounts = deviceLayerCounts
        }
    }

    /// What the head itself computes.
    package enum Local: Hashable, Sendable {
        /// Without a GPU: the first layers, on the processor.
        case processor(layerCount: Int)
        /// Layers of each GPU, in llama-server's order; they come after the workers' layers.
        case gpus(layerCounts: [Int])
    }

    package var modelPath: String
    /// The name under which llama-server knows the model.
    package var alias: String
    package var port: Int
    package var workers: [Worker]
    package var local: Local
    /// Per request.
    package var contextTokenCount: Int
    package var sequenceCount: Int
    package var batchTokenCount: Int
    package var microBatchTokenCount: Int
    package var threadCount: Int
    /// Nil leaves the choice to llama-server.
    package var loadMode: String?
    /// `-v`: everything, requests included.
    package var isVerbose = false
    package var extra: RPCOptions
    /// The head has GPUs that the plan does not use; llama-server would take them.
    package var hidesLocalGPUs = false

    package init(
        modelPath: String, alias: String, port: Int, workers: [Worker], local: Local, contextTokenCount: Int,
        sequenceCount: Int, batchTokenCount: Int = 2048, microBatchTokenCount: Int = 512, threadCount: Int,
        loadMode: String? = nil, extra: RPCOptions = RPCOptions()
    ) {
        self.modelPath = modelPath
        self.alias = alias
        self.port = port
        self.workers = workers
        self.local = local
        self.contextTokenCount = contextTokenCount
        self.sequenceCount = sequenceCount
        self.batchTokenCount = batchTokenCount
        self.microBatchTokenCount = microBatchTokenCount
        self.threadCount = threadCount
        self.loadMode = loadMode
        self.extra = extra
    }

    package var usesLocalGPUs: Bool {
        if case .gpus = local { true } else { false }
    }

    /// Devices in llama-server's order: the workers', then the head's GPUs.
    package var devices: [LaunchProof.Device] {
        let remote = workers.flatMap { worker in
            worker.deviceLayerCounts.indices.map { LaunchProof.Device.worker(endpoint: worker.endpoint, index: $0) }
        }
        guard case .gpus(let layerCounts) = local else { return remote }
        return remote + layerCounts.indices.map { .local(index: $0) }
    }

    /// Throws `invalidPlacement`.
    package func split() throws(ShoalError) -> TensorSplit {
        let remote = workers.flatMap(\.deviceLayerCounts)
        switch local {
        case .processor(let layerCount):
            return try TensorSplit(localLayerCount: layerCount, deviceLayerCounts: remote)
        case .gpus(let layerCounts):
            return try TensorSplit(localLayerCount: 0, deviceLayerCounts: remote + layerCounts)
        }
    }

    /// The arguments for a program with the options of `help`, and what could not be said to it, in sentences.
    ///
    /// Throws `engineLost` when the program lacks an option without which the plan cannot be carried out, and
    /// `invalidPlacement`.
    package func arguments(help: ToolHelp) throws(ShoalError) -> (arguments: [String], notes: [String]) {
        var line = CommandLineBuilder(help: help)
        try line.need(["--model", "-m"], modelPath)
        try line.need(["--host"], "127.0.0.1")
        try line.need(["--port"], String(port))
        line.want(["--alias"], alias)
        try addDevices(to: &line)
        addSizes(to: &line)
        addHabits(to: &line)
        return (line.arguments, line.notes)
    }

    private func addDevices(to line: inout CommandLineBuilder) throws(ShoalError) {
        let split = try split()
        if !workers.isEmpty {
            guard line.help.options.contains("--rpc") else {
                throw ShoalError(
                    .engineLost,
                    "the installed llama-server has no --rpc: it was built without the RPC backend; build llama.cpp "
                        + "with cmake -DGGML_RPC=ON, or let make engine do it")
            }
            try line.need(["--rpc"], workers.map(\.endpoint).joined(separator: ","))
        }
        if hidesLocalGPUs {
            let names = (0..<workers.reduce(0) { $0 + $1.deviceLayerCounts.count }).map { "RPC\($0)" }
            line.want(["--device", "-dev"], names.isEmpty ? "none" : names.joined(separator: ","))
        }
        try line.need(["--n-gpu-layers", "--gpu-layers", "-ngl"], String(split.offloadedLayerCount))
        guard !split.deviceLayerCounts.isEmpty else { return }
        try line.need(["--split-mode", "-sm"], "layer")
        try line.need(["--tensor-split", "-ts"], split.text)
    }

    private func addSizes(to line: inout CommandLineBuilder) {
        // llama-server divides its context among its slots.
        line.want(["--ctx-size", "-c"], String(contextTokenCount * sequenceCount))
        line.want(["--parallel", "-np"], String(sequenceCount))
        line.want(["--batch-size", "-b"], String(batchTokenCount))
        line.want(["--ubatch-size", "-ub"], String(microBatchTokenCount))
        line.want(["--threads", "-t"], String(threadCount))
    }

    /// Options that change nothing of what is computed, or keep llama-server from doing what harms over RPC.
    private func addHabits(to line: inout CommandLineBuilder) {
        // Probing would load the model twice; the plan knows the memory.
        if line.help.options.contains("--fit") { line.want(["--fit"], "off") }
        // Saved prompts would be read back from the workers, and reading has aborted (llama.cpp #26529).
        if line.help.options.contains("--cache-ram") { line.want(["--cache-ram"], "0") }
        // The first token, which readiness waits for, warms up as well.
        if line.help.options.contains("--no-warmup") { line.flag(["--no-warmup"]) }
        if let loadMode {
            if line.help.options.contains("--load-mode") {
                line.want(["--load-mode"], loadMode)
            } else if loadMode == "none" {
                line.flag(["--no-mmap"])
            }
        }
        if isVerbose {
            line.flag(["--verbose", "-v"])
        } else {
            // The sizes of buffers on devices, which prove the placement, are told from this level on.
            line.want(["--log-verbosity", "--verbosity", "-lv"], "4")
        }
        if line.help.options.contains("--no-ui") { line.flag(["--no-ui"]) } else { line.flag(["--no-webui"]) }
        line.flag(["--metrics"])
        if let path = extra.multimodalProjectorPath { line.want(["--mmproj", "-mm"], path) }
        if extra.servesEmbeddings { line.flag(["--embeddings", "--embedding"]) }
        if extra.servesReranking { line.flag(["--reranking", "--rerank"]) }
        line.append(extra.arguments)
    }
}

/// Puts a command line together from what a program has.
struct CommandLineBuilder {
    let help: ToolHelp
    private(set) var arguments: [String] = []
    private(set) var notes: [String] = []

    init(help: ToolHelp) { self.help = help }

    /// The first of `names` that the program has, with a value. Throws `engineLost` when it has none.
    mutating func need(_ names: [String], _ value: String) throws(ShoalError) {
        guard let name = names.first(where: help.options.contains) else {
            throw ShoalError(
                .engineLost, "the installed llama-server has no option \(names[0]); install another build of llama.cpp")
        }
        arguments += [name, value]
    }

    mutating func want(_ names: [String], _ value: String) {
        guard let name = names.first(where: help.options.contains) else {
            return notes.append("the installed llama-server has no option \(names[0]); \"\(value)\" was not set")
        }
        arguments += [name, value]
    }

    mutating func flag(_ names: [String]) {
        guard let name = names.first(where: help.options.contains) else {
            return notes.append("the installed llama-server has no option \(names[0])")
        }
        arguments.append(name)
    }

    mutating func append(_ words: [String]) { arguments += words }
}
