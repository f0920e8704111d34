import ShoalCore
import ShoalLaunch
import Testing

@Suite("What logs of llama.cpp say")
struct ServerLogTests {
    /// Of a real start with two workers, `--log-verbosity 4`, in its order.
    private static let start = """
        0.00.004.149 I cmn  common_param:   - RPC0    : 127.0.0.1:51901 (24105 MiB, 24105 MiB free)
        0.00.004.516 W srv  llama_server: security: no API key is set and CORS allows all origins
        0.00.052.646 I llama_prepare_model_devices: using device RPC0 (127.0.0.1:51901) (unknown id) - 24105 MiB free
        0.00.056.580 I llama_prepare_model_devices: using device RPC1 (127.0.0.1:51902) (unknown id) - 24105 MiB free
        0.00.197.161 I load_tensors: loading model tensors, this can take a while... (load_mode = mmap)
        0.00.227.986 I load_tensors: offloaded 31/31 layers to GPU
        0.00.228.003 I load_tensors:   CPU_Mapped model buffer size =    28.69 MiB
        0.00.228.017 I load_tensors: RPC0[127.0.0.1:51901] model buffer size =    33.82 MiB
        0.00.228.030 I load_tensors: RPC0[127.0.0.1:51902] model buffer size =    58.28 MiB
        0.00.504.657 I llama_kv_cache: RPC0[127.0.0.1:51901] KV buffer size =    24.00 MiB
        0.00.504.844 I llama_kv_cache: RPC0[127.0.0.1:51902] KV buffer size =    21.00 MiB
        0.00.571.056 I llama_context: pipeline parallelism enabled
        0.00.578.319 I sched_reserve: RPC0[127.0.0.1:51901] compute buffer size =    20.91 MiB
        0.00.578.584 I cmn  common_init_: warming up the model with an empty run - please wait ...
        0.00.672.945 W srv          init: --cache-idle-slots requires --cache-ram, disabling
        0.00.675.680 I srv  llama_server: model loaded
        0.00.675.685 I srv  llama_server: listening on http://127.0.0.1:51910
        """.split(separator: "\n").map(String.init)

    private static let devices: [LaunchProof.Device] = [
        .worker(endpoint: "127.0.0.1:51901", index: 0), .worker(endpoint: "127.0.0.1:51902", index: 0),
    ]

    @Test("a real start proves both devices, with their sizes, but is not ready before health and a token")
    func realStart() {
        var proof = LaunchProof(devices: Self.devices)
        for line in Self.start { proof.saw(ServerLogLine(classifying: line)) }
        #expect(proof.devicesWithoutModel == [])
        #expect(Self.isAbout(proof.modelBytes(on: Self.devices[0]), 33.82))
        #expect(Self.isAbout(proof.cacheBytes(on: Self.devices[1]), 21))
        #expect(Self.isAbout(proof.computeBytes(on: Self.devices[0]), 20.91))
        #expect(Self.isAbout(proof.localModelBytes, 28.69))
        #expect(proof.steps.isSuperset(of: [.takingDevices, .loadingTensors, .warmingUp, .modelLoaded, .listening]))
        #expect(proof.suggestsHealth)
        #expect(!proof.isReady)
        proof.saw(.healthy)
        #expect(!proof.isReady)
        proof.saw(.answered)
        #expect(proof.isReady)
    }

    private static func isAbout(_ bytes: ByteCount?, _ mebibytes: Double) -> Bool {
        bytes.map { abs($0.mebibytes - mebibytes) < 0.01 } ?? false
    }

    @Test("healthy and answering is not ready while a planned device holds nothing")
    func notDistributed() {
        var proof = LaunchProof(devices: Self.devices)
        for line in Self.start where !line.contains("51902] model buffer") {
            proof.saw(ServerLogLine(classifying: line))
        }
        proof.saw(.healthy)
        proof.saw(.answered)
        #expect(proof.devicesWithoutModel == [Self.devices[1]])
        #expect(!proof.isReady)
    }

    @Test("a buffer of no size proves nothing")
    func emptyBuffer() {
        var proof = LaunchProof(devices: [Self.devices[0]])
        proof.saw(ServerLogLine(classifying: "load_tensors: RPC0[127.0.0.1:51901] model buffer size =     0.00 MiB"))
        #expect(proof.devicesWithoutModel == [Self.devices[0]])
    }

    @Test("GPUs of the head are devices of their own, the processor is none")
    func localGPU() {
        var proof = LaunchProof(devices: [.local(index: 0)])
        proof.saw(ServerLogLine(classifying: "load_tensors:   CPU_Mapped model buffer size =    28.69 MiB"))
        #expect(!proof.devicesWithoutModel.isEmpty)
        proof.saw(ServerLogLine(classifying: "load_tensors:        CUDA0 model buffer size =   100.00 MiB"))
        #expect(proof.devicesWithoutModel.isEmpty)
    }

    @Test(
        "alarming lines that are normal are known as such",
        arguments: [
            "Null buffer for tensor passed to init_tensor function",
            "[init_tensor] Null buffer for tensor passed",
            "recv returned 0 (peer closed?)", "Client connection closed",
            "0.00.672.945 W srv          init: --cache-idle-slots requires --cache-ram, disabling",
            "0.00.672.929 I srv    load_model: prompt cache is disabled - use `--cache-ram N` to enable it",
        ])
    func benign(line: String) {
        guard case .benign = ServerLogLine(classifying: line) else {
            Issue.record("\(line) counts as \(ServerLogLine(classifying: line))")
            return
        }
    }

    /// Last words of real processes, and what they mean.
    private static let deaths: [(ProcessFailure, [String])] = [
        (
            .workerLost,
            [
                "0.02.200.260 E recv failed (bytes_recv=0, size_to_recv=8)",
                "/src/ggml/src/ggml-rpc/ggml-rpc.cpp:566: Remote RPC server crashed or returned malformed response",
            ]
        ),
        (.workerLost, ["/src/ggml/src/ggml-rpc/ggml-rpc.cpp:547: Failed to connect to 127.0.0.1:51999"]),
        (
            .portInUse,
            [
                "0.00.008.524 E srv  start: couldn't bind HTTP server socket, hostname: 127.0.0.1, port: 51912",
                "0.00.016.620 E srv  llama_server: exiting due to HTTP server error",
            ]
        ),
        (
            .modelUnreadable,
            [
                "0.00.037.406 E llama_model_load: error loading model: failed to load model from /nonexistent.gguf",
                "0.00.037.728 E srv  llama_server: exiting due to model loading error",
            ]
        ),
        (.badOption, ["error: invalid argument: --bogus"]),
        (.badOption, ["error: unknown argument: --version", "Usage: ggml-rpc-server [options]"]),
        (
            .outOfMemory,
            [
                "ggml_backend_cuda_buffer_type_alloc_buffer: allocating 71000.00 MiB on device 0: cudaMalloc failed: "
                    + "out of memory",
                "0.01.2 E llama_model_load: error loading model: unable to allocate CUDA0 buffer",
                "0.01.3 E srv    load_model: failed to load model, 'a.gguf'",
            ]
        ),
        (.gpuDriver, ["CUDA error: an illegal memory access was encountered", "  current device: 0"]),
        (.protocolMismatch, ["RPC server version mismatch: 3.6.0", "ggml-rpc.cpp:550: RPC handshake failed for x"]),
        (.diskFull, ["write: No space left on device"]),
    ]

    @Test("causes of death are told apart by the most telling line", arguments: deaths.indices)
    func classifiesDeaths(index: Int) {
        let (failure, lines) = Self.deaths[index]
        #expect(ProcessFailure(signal: 6, logTail: lines) == failure)
    }

    @Test("without words the signal decides")
    func signals() {
        #expect(ProcessFailure(signal: 9, logTail: ["all slots are idle"]) == .killed)
        #expect(ProcessFailure(signal: 11, logTail: []) == .crash)
        #expect(ProcessFailure(signal: nil, logTail: ["bye"]) == .crash)
    }

    @Test("last words come without time and source file")
    func words() {
        let line = "/home/x/ggml-rpc.cpp:566: Remote RPC server crashed or returned malformed response"
        #expect(
            ProcessFailure.workerLost.words(in: ["x", line, ""])
                == "Remote RPC server crashed or returned malformed response")
        #expect(ProcessFailure.crash.words(in: ["x"]) == nil)
    }

    @Test(
        "no line, however odd, is more than a line",
        arguments: ["", "(", " model buffer size =", "offloaded x/y", "version:"])
    func odd(line: String) {
        #expect(ServerLogLine(classifying: line) == .other)
        #expect(ToolVersion(parsing: line) == nil)
    }

    @Test("words are found wherever they stand in a line, in either case, and only whole")
    func marks() {
        let marks = LineMarks(["bind", "RPC handshake", "bound"])
        for line in ["bind", "couldn't Bind HTTP", "an rpc HANDSHAKE failed", "bibind", "it is bound"] {
            #expect(marks.areIn(line), "\(line)")
        }
        for line in ["", "bin", "b ind", "rpc-handshake", "boun", "bi\u{301}nd"] {
            #expect(!marks.areIn(line), "\(line)")
        }
    }

    @Test("versions and devices as programs print them")
    func versions() {
        let current = ToolVersion(parsing: "version: 0.5.0-dev (build 0, commit 0c1e57098)\nbuilt with GNU 12.2.0")
        #expect(current == ToolVersion(commit: "0c1e57098", buildNumber: 0))
        #expect(current?.description == "0c1e57098")
        #expect(ToolVersion(parsing: "version: 4567 (abc1234)") == ToolVersion(commit: "abc1234", buildNumber: 4567))
        let listed = ListedDevice.list(
            parsing: "Available devices:\n  CUDA0: NVIDIA H200 (143167 MiB, 142000 MiB free)\n"
                + "  RPC0: 127.0.0.1:50052 (24105 MiB, 24105 MiB free)\n  (none)\n")
        #expect(
            listed == [ListedDevice(name: "CUDA0", total: ByteCount(143_167 << 20), free: ByteCount(142_000 << 20))])
    }

    @Test("health is asked every ten seconds for two minutes, then every second")
    func schedule() {
        var elapsed = Duration.zero
        var early = 0
        var late = 0
        while elapsed < .seconds(180) {
            elapsed += HealthSchedule.interval(elapsed: elapsed)
            if elapsed <= .seconds(120) { early += 1 } else { late += 1 }
        }
        #expect(early == 12)
        #expect(late == 60)
    }

    @Test("layers are spread by memory, every device gets one, none is lost")
    func spread() {
        #expect(LayerShares.spread(10, over: [6, 4]) == [6, 4])
        #expect(LayerShares.spread(3, over: [1000, 1, 1]) == [1, 1, 1])
        #expect(LayerShares.spread(7, over: []) == [7])
        var generator = SeededGenerator(seed: 3)
        for _ in 0..<500 {
            let weights = (0..<Int.random(in: 1...8, using: &generator)).map { _ in
                Int.random(in: 0...100_000, using: &generator)
            }
            let count = weights.count + Int.random(in: 0...90, using: &generator)
            let shares = LayerShares.spread(count, over: weights)
            #expect(shares.reduce(0, +) == count)
            #expect(shares.allSatisfy { $0 > 0 })
        }
    }
}
