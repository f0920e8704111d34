import ShoalCore
import ShoalLaunch
import Testing

@Suite("The command line of llama-server")
struct ServerCommandTests {
    private func command(
        workers: [[Int]], local: ServerCommand.Local, mode: String? = nil
    ) -> ServerCommand {
        ServerCommand(
            modelPath: "/models/tiny.gguf", alias: "tiny", port: 50000,
            workers: workers.enumerated().map { number, layers in
                ServerCommand.Worker(endpoint: "127.0.0.1:\(50001 + number)", deviceLayerCounts: layers)
            },
            local: local, contextTokenCount: 1024, sequenceCount: 2, threadCount: 4, loadMode: mode)
    }

    private static let begin = [
        "--model", "/models/tiny.gguf", "--host", "127.0.0.1", "--port", "50000", "--alias", "tiny",
    ]
    private static let end = [
        "--ctx-size", "2048", "--parallel", "2", "--batch-size", "2048", "--ubatch-size", "512", "--threads", "4",
        "--fit", "off", "--cache-ram", "0", "--no-warmup", "--log-verbosity", "4", "--no-ui", "--metrics",
    ]

    private func line(_ middle: [String]) -> [String] { Self.begin + middle + Self.end }

    @Test("without workers and GPU: nothing is offloaded")
    func alone() throws {
        let (arguments, notes) = try command(workers: [], local: .processor(layerCount: 30)).arguments(help: .current)
        #expect(arguments == line(["--n-gpu-layers", "0"]))
        #expect(notes.isEmpty)
    }

    @Test("one, two and three workers, the head without a GPU computes the first layers")
    func processor() throws {
        let one = try command(workers: [[20]], local: .processor(layerCount: 10)).arguments(help: .current)
        #expect(
            one.arguments
                == line([
                    "--rpc", "127.0.0.1:50001", "--n-gpu-layers", "21", "--split-mode", "layer", "--tensor-split",
                    "1.000000",
                ]))
        let two = try command(workers: [[15], [15]], local: .processor(layerCount: 0)).arguments(help: .current)
        #expect(
            two.arguments
                == line([
                    "--rpc", "127.0.0.1:50001,127.0.0.1:50002", "--n-gpu-layers", "31", "--split-mode", "layer",
                    "--tensor-split", "0.467742,0.532258",
                ]))
        let three = try command(workers: [[10], [10], [10]], local: .processor(layerCount: 0))
            .arguments(help: .current)
        #expect(
            three.arguments
                == line([
                    "--rpc", "127.0.0.1:50001,127.0.0.1:50002,127.0.0.1:50003", "--n-gpu-layers", "31",
                    "--split-mode", "layer", "--tensor-split", "0.306452,0.322581,0.370968",
                ]))
    }

    @Test("one, two and three workers, the head's GPU is one value more, at the end")
    func gpu() throws {
        for count in 1...3 {
            let command = command(
                workers: Array(repeating: [8], count: count), local: .gpus(layerCounts: [6]))
            let (arguments, _) = try command.arguments(help: .current)
            let index = try #require(arguments.firstIndex(of: "--tensor-split"))
            let shares = arguments[index + 1].split(separator: ",").compactMap { Double($0) }
            #expect(shares.count == count + 1)
            #expect(abs(shares.reduce(0, +) - 1) < 0.005)
            #expect(arguments.contains("--n-gpu-layers"))
            #expect(arguments[try #require(arguments.firstIndex(of: "--n-gpu-layers")) + 1] == "\(8 * count + 7)")
            #expect(command.devices.last == .local(index: 0))
            #expect(command.devices.count == count + 1)
        }
    }

    @Test("a GPU that the plan does not use is hidden from llama-server")
    func hiddenGPU() throws {
        var command = command(workers: [[15], [15]], local: .processor(layerCount: 0))
        command.hidesLocalGPUs = true
        let (arguments, _) = try command.arguments(help: .current)
        #expect(arguments[try #require(arguments.firstIndex(of: "--device")) + 1] == "RPC0,RPC1")
    }

    @Test("a worker with two devices has two values")
    func twoDevices() throws {
        let command = command(workers: [[5, 6], [4]], local: .processor(layerCount: 0))
        #expect(try command.split().deviceLayerCounts == [5, 6, 4])
        #expect(command.devices.first == .worker(endpoint: "127.0.0.1:50001", index: 0))
        #expect(command.devices.dropFirst().first == .worker(endpoint: "127.0.0.1:50001", index: 1))
    }

    @Test("options of the request arrive: verbose, projector, embeddings, batch, load mode, further words")
    func options() throws {
        var command = command(workers: [], local: .processor(layerCount: 2), mode: "none")
        command.isVerbose = true
        command.extra.multimodalProjectorPath = "/models/eye.gguf"
        command.extra.servesEmbeddings = true
        command.extra.arguments = ["--seed", "7"]
        command.batchTokenCount = 128
        let (arguments, _) = try command.arguments(help: .current)
        let text = arguments.joined(separator: " ")
        for part in [
            "--verbose", "--mmproj /models/eye.gguf", "--embeddings", "--batch-size 128", "--load-mode none",
        ] {
            #expect(text.contains(part), "\(part) is missing in \(text)")
        }
        #expect(arguments.suffix(2) == ["--seed", "7"])
        #expect(!text.contains("--log-verbosity"))
    }

    @Test("an older build: options are translated or left out, and that is told")
    func older() throws {
        let help = ToolHelp(
            parsing: """
                -m, --model FNAME  model
                --host HOST  address
                --port PORT  port
                --rpc SERVERS  servers
                -ngl, --gpu-layers, --n-gpu-layers N  layers
                -sm, --split-mode MODE  mode
                -ts, --tensor-split N0,N1  split
                -c, --ctx-size N  context
                --no-mmap  do not map
                -lv, --verbosity N  level
                --no-webui  no UI
                """)
        let (arguments, notes) = try command(workers: [[3]], local: .processor(layerCount: 1), mode: "none")
            .arguments(help: help)
        #expect(arguments.contains("--no-mmap"))
        #expect(arguments.contains("--no-webui"))
        #expect(!arguments.contains("--fit"))
        #expect(!arguments.contains("--cache-ram"))
        #expect(!arguments.contains("--no-warmup"))
        #expect(notes.contains { $0.contains("--alias") })
    }

    @Test("a program without --rpc is refused with the way to build one; without --tensor-split too")
    func unfit() {
        let plain = ToolHelp(parsing: "-m, --model F  model\n--host H  a\n--port P  b\n-ngl, --n-gpu-layers N  c\n")
        #expect {
            try command(workers: [[3]], local: .processor(layerCount: 1)).arguments(help: plain)
        } throws: { ($0 as? ShoalError)?.message.contains("GGML_RPC=ON") == true }
        let noSplit = ToolHelp(
            parsing: "-m, --model F  model\n--host H  a\n--port P  b\n-ngl, --n-gpu-layers N  c\n--rpc S  d\n"
                + "-sm, --split-mode M  e\n")
        #expect {
            try command(workers: [[3]], local: .processor(layerCount: 1)).arguments(help: noSplit)
        } throws: { ($0 as? ShoalError)?.message.contains("--tensor-split") == true }
    }

    @Test("the recorded command survives a shell")
    func quoting() {
        let record = LaunchRecord(
            command: ["/bin/llama server", "--alias", "it's", "--model", "/m/a b.gguf", "$(boom)"],
            environment: ["HOME": "/home/me"])
        #expect(
            record.shellCommand
                == #"env -i HOME=/home/me '/bin/llama server' --alias 'it'\''s' --model '/m/a b.gguf' '$(boom)'"#)
    }

    @Test("a worker listens on loopback only")
    func worker() throws {
        let help = ToolHelp(
            parsing: """
                options:
                  -h, --help                       show this help message and exit
                  -t, --threads N                  number of threads for the CPU device (default: 1)
                  -H, --host HOST                  host to bind to (default: 127.0.0.1)
                  -p, --port PORT                  port to bind to (default: 50052)
                """)
        #expect(
            try WorkerCommand.arguments(port: 50001, threadCount: 3, help: help)
                == ["--host", "127.0.0.1", "--port", "50001", "--threads", "3"])
    }
}

extension ToolHelp {
    /// Lines of the pinned build's `llama-server --help`.
    static let current = ToolHelp(
        parsing: """
            ----- common params -----

            -h,    --help, --usage                  print usage and exit
            -t,    --threads N                      number of CPU threads to use during generation (default: -1)
                                                    (env: LLAMA_ARG_THREADS)
            -c,    --ctx-size N                     size of the prompt context (default: 0, 0 = loaded from model)
            -b,    --batch-size N                   logical maximum batch size (default: 2048)
            -ub,   --ubatch-size N                  physical maximum batch size (default: 512)
            --rpc SERVERS                           comma-separated list of RPC servers (host:port)
            -lm,   --load-mode MODE                 model loading mode (default: auto)
                                                    - auto: mmap, unless a device does not support it
                                                    - none: no special loading mode
            -dev,  --device <dev1,dev2,..>          comma-separated list of devices to use for offloading (none = don't
            -ngl,  --gpu-layers, --n-gpu-layers N   max. number of layers to store in VRAM, either an exact number,
            -sm,   --split-mode {none,layer,row,tensor}
            -ts,   --tensor-split N0,N1,N2,...      fraction of the model to offload to each GPU, comma-separated list
            -fit,  --fit [on|off]                   whether to adjust unset arguments to fit in device memory ('on' or
            -m,    --model FNAME                    model path to load
            -v,    --verbose, --log-verbose         Set verbosity level to infinity (i.e. log all messages, useful for
            -lv,   --verbosity, --log-verbosity N   Set the verbosity threshold. Messages with a higher verbosity will
            --warmup, --no-warmup                   whether to perform warmup with an empty run (default: enabled)
            -cram, --cache-ram N                    set the maximum cache size in MiB (default: 8192, -1 - no limit, 0 -
            -np,   --parallel N                     number of server slots (default: -1, -1 = auto)
            -mm,   --mmproj FILE                    path to a multimodal projector file. see tools/mtmd/README.md
            -a,    --alias STRING                   set model name aliases, comma-separated (to be used by API)
            --host HOST                             IP addresses to listen on, comma-separated, or UNIX socket paths
            --port PORT                             port to listen (default: 8080)
            --ui,  --webui, --no-ui, --no-webui     whether to enable the Web UI (default: enabled)
            --embedding, --embeddings               restrict to only support embedding use case; use only with dedicated
            --rerank, --reranking                   enable reranking endpoint on server (default: disabled)
            --metrics                               enable prometheus compatible metrics endpoint (default: disabled)
            """)
}
