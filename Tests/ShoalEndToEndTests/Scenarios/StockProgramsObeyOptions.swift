import Foundation
import ShoalCore
import ShoalTesting
import Testing

/// One that people choose, and ggml-rpc-server's own.
private let usualPorts = [60000, 50052]

@Suite("Stock programs obey options", .serialized)
struct StockProgramsObeyOptions {
    private static let layers = "a=0-14,b=15-29"
    @Test("steps of a recovery are told where that was asked for, by option or by variable, and nowhere else")
    func debugRecovery() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 0) { cluster in
            let cases: [(name: String, arguments: [String], environment: [String: String], isTold: Bool)] = [
                ("a", [], [:], false), ("b", ["--debug-recovery"], [:], true),
                ("c", [], ["SHOAL_DEBUG_RECOVERY": "1"], true),
            ]
            for (name, arguments, environment, isTold) in cases {
                let key = ["--cluster-key", ClusterFixture.randomClusterKey(), "--discovery", "off"]
                try await cluster.withNode(name, arguments: key + arguments, environment: environment) { node in
                    let loaded = try await cluster.loadStock(model, layers: nil, on: node)
                    kill(try await cluster.serverProcess(loaded.id, from: node), SIGKILL)
                    try await cluster.readyStock(loaded.id, on: node, after: loaded.generation)
                    let log = node.log
                    #expect(log.contains("requests failed"), "the cause is told in any case")
                    #expect(log.contains("recovery step") == isTold, "\(name)")
                    #expect(log.contains("scheduleRetry") == isTold, "\(name)")
                }
            }
        }
    }

    @Test("llama-server runs on the node that was asked, whoever leads, and where --head says")
    func head() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 2) { cluster in
            for (asked, named, expected) in [(0, nil, "a"), (1, nil, "b"), (0, "b", "b"), (1, "a", "a")] {
                var options: RPCOptions?
                if let named {
                    options = RPCOptions()
                    options?.headName = named
                }
                let node = cluster.nodes[asked]
                let loaded = try await cluster.loadStock(model, layers: Self.layers, on: node, options: options)
                #expect(loaded.headName == expected)
                let (status, text, body) = try await cluster.complete("The capital of France is", on: node)
                #expect(status == 200, "\(body)")
                #expect(text.contains("Paris"))
                _ = try await cluster.send(.DELETE, "/shoal/v1/instances/\(loaded.id)", to: node)
            }
        }
    }

    @Test("llama-server is started so long after the last worker as --rpc-settle says")
    func settle() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 2, arguments: ["--rpc-settle", "2"]) { cluster in
            let loaded = try await cluster.loadStock(model, layers: Self.layers, on: cluster.nodes[0])
            let launching = try #require(loaded.phases.first { $0.phase == .launching })
            #expect(try #require(launching.endSeconds) - launching.startSeconds >= 2)
        }
    }

    @Test(
        "foreign workers at the usual ports take part side by side",
        .enabled(if: usualPorts.allSatisfy(isFree), "something listens on one of the usual ports"))
    func foreignAtUsualPorts() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        let workers = try usualPorts.map { try ForeignWorker(port: $0) }
        defer { for worker in workers { worker.stop() } }
        // The second one's port goes without saying.
        let arguments = ["--rpc-worker", "127.0.0.1:60000", "--rpc-worker", "127.0.0.1"]
        try await ClusterFixture.with(nodeCount: 1, arguments: arguments) { cluster in
            let node = cluster.nodes[0]
            try await eventually("both workers were seen") {
                node.log.components(separatedBy: "worker.state=protocol 7.0.0").count >= 3
            }
            let loaded = try await cluster.loadStock(
                model, layers: "a=0-9,127.0.0.1:60000=10-19,127.0.0.1:50052=20-29", on: node)
            #expect(loaded.stages.compactMap(\.worker).map(\.isForeign) == [true, true])
            #expect(loaded.stages.allSatisfy { $0.worker == nil || ($0.worker?.modelBufferBytes ?? .zero) > .zero })
            let (status, text, body) = try await cluster.complete("The capital of France is", on: node)
            #expect(status == 200, "\(body)")
            #expect(text.contains("Paris"))
        }
    }

    @Test("the debug log of workers is switched on by a variable, which reaches them like the library path")
    func childEnvironment() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        let key = ["--cluster-key", ClusterFixture.randomClusterKey()]
        let environment = ["GGML_RPC_DEBUG": "1", "LD_LIBRARY_PATH": "/nowhere/lib", "SHOAL_TEST_SECRET": "x"]
        try await ClusterFixture.with(nodeCount: 0) { cluster in
            try await cluster.withNode("a", arguments: key) { a in
                try await cluster.withNode("b", arguments: key + ["--peer", a.link], environment: environment) { b in
                    try await cluster.waitUntil(a, sees: 2)
                    let loaded = try await cluster.loadStock(model, layers: Self.layers, on: a)
                    let worker = try await cluster.process(loaded.id, stage: 1, from: a)
                    let variables = try String(contentsOfFile: "/proc/\(worker)/environ", encoding: .utf8)
                        .split(separator: "\0").map(String.init)
                    #expect(variables.contains("GGML_RPC_DEBUG=1"))
                    #expect(variables.contains("LD_LIBRARY_PATH=/nowhere/lib"))
                    #expect(!variables.contains { $0.hasPrefix("SHOAL_TEST_SECRET") })
                    let log = try log(of: b)
                    #expect(log.contains("[hello] version: 7.0.0"), "\(log.prefix(2000))")
                    let quiet = try #require(
                        try await (cluster.get("/shoal/v1/logs/\(loaded.id)", from: a) as [EngineLogReport])
                            .first { $0.program == "llama-server" })
                    #expect(quiet.launch?.environment["GGML_RPC_DEBUG"] == nil)
                }
            }
        }
    }

    /// What the children of a node have written.
    private func log(of node: NodeProcess) throws -> String {
        let folder = node.directory.appending(path: "logs")
        return try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)
            .map { String(decoding: try Data(contentsOf: $0), as: UTF8.self) }.joined()
    }

    @Test("a worker whose llama.cpp is another build is refused, and both builds are named")
    func anotherBuild() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 0) { cluster in
            let server = try TestFiles.llamaProgram("llama-server").path
            let programs = try programs(
                in: cluster,
                server: """
                    #!/bin/sh
                    case "$*" in *--version*) echo "version: 10700 (c0ffee123)"; exit;; esac
                    exec '\(server)' "$@"
                    """,
                worker: "#!/bin/sh\nexec '\(try TestFiles.llamaProgram("ggml-rpc-server").path)' \"$@\"\n")
            let key = ["--cluster-key", ClusterFixture.randomClusterKey()]
            try await cluster.withNode("a", arguments: key) { a in
                let other = key + ["--peer", a.link, "--llama-bin", programs.path]
                try await cluster.withNode("b", arguments: other) { b in
                    try await cluster.waitUntil(a, sees: 2)
                    let id = try await cluster.beginStock(model, layers: Self.layers, on: a)
                    var report: InstanceReport?
                    try await eventually("the launch is given up") {
                        report = try await cluster.instance(id, from: b)
                        return report?.phase == .failed
                    }
                    let problem = try #require(report?.problem)
                    #expect(problem.contains("c0ffee123"), "\(problem)")
                    #expect(problem.contains("0c1e57098"), "\(problem)")
                    #expect(problem.contains("install the same build on both"), "\(problem)")
                }
            }
        }
    }

    private func programs(in cluster: ClusterFixture, server: String, worker: String) throws -> URL {
        let folder = cluster.directory.appending(path: "programs")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        try write(server, to: folder.appending(path: "llama-server"))
        try write(worker, to: folder.appending(path: "ggml-rpc-server"))
        return folder
    }

    @Test("a worker that takes long is named while it is awaited; afterwards it is told what took longer than usual")
    func slowWorker() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 0) { cluster in
            let mark = cluster.directory.appending(path: "slow")
            let programs = try programs(
                in: cluster,
                server: "#!/bin/sh\nexec '\(try TestFiles.llamaProgram("llama-server").path)' \"$@\"\n",
                worker: """
                    #!/bin/sh
                    if [ -e '\(mark.path)' ]; then sleep "$(cat '\(mark.path)')"; fi
                    exec '\(try TestFiles.llamaProgram("ggml-rpc-server").path)' "$@"
                    """)
            let key = ["--cluster-key", ClusterFixture.randomClusterKey()]
            try await cluster.withNode("a", arguments: key) { a in
                try await cluster.withNode("b", arguments: key + ["--peer", a.link]) { b in
                    let slow = key + ["--peer", a.link, "--llama-bin", programs.path]
                    try await cluster.withNode("c", arguments: slow) { _ in
                        try await cluster.waitUntil(a, sees: 3)
                        try await launches(model, mark, a, b, cluster)
                    }
                }
            }
        }
    }

    private func launches(
        _ model: URL, _ mark: URL, _ a: NodeProcess, _ b: NodeProcess, _ cluster: ClusterFixture
    ) async throws {
        let layers = "a=0-9,b=10-19,c=20-29"
        var usual = 0.0
        for _ in 0..<LaunchHistory.launchCountMin {
            let loaded = try await cluster.loadStock(model, layers: layers, on: a)
            let starting = try #require(loaded.phases.first { $0.phase == .starting })
            usual = max(usual, try #require(starting.endSeconds) - starting.startSeconds)
            _ = try await cluster.send(.DELETE, "/shoal/v1/instances/\(loaded.id)", to: a)
        }
        // Far longer than the others took, however busy the machine is.
        let delay = Int(3 * usual) + 3
        try Data("\(delay)".utf8).write(to: mark)
        let id = try await cluster.beginStock(model, layers: layers, on: a)
        try await eventually("one worker is ready, the other awaited") {
            let report = try await cluster.instance(id, from: a)
            let prepared = report.stages.map { $0.worker?.preparedSeconds }
            return report.phase == .starting && prepared[1] != nil && prepared[2] == nil
        }
        let loaded = try await cluster.readyStock(id, on: a)
        let prepared = loaded.stages.compactMap(\.worker?.preparedSeconds)
        let launching = try #require(loaded.phases.first { $0.phase == .launching })
        #expect(prepared.count == 2)
        #expect(prepared.allSatisfy { $0 <= launching.startSeconds })
        #expect(prepared[1] >= Double(delay))
        #expect(loaded.notice?.contains("starting took") == true, "\(loaded.notice ?? "")")
        // The others learn it with the next announcement.
        try await eventually("node b knows it too") { try await cluster.instance(id, from: b).notice == loaded.notice }
    }

    @Test("programs that write 10 MiB to each output while they begin are ready all the same")
    func chattyPrograms() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 0) { cluster in
            let chatter = cluster.directory.appending(path: "chatter.txt")
            let line = String(repeating: "x", count: 100) + "\n"
            try Data(String(repeating: line, count: (10 << 20) / line.utf8.count).utf8).write(to: chatter)
            let programs = try programs(
                in: cluster, server: chatty(try TestFiles.llamaProgram("llama-server"), chatter),
                worker: chatty(try TestFiles.llamaProgram("ggml-rpc-server"), chatter))
            let arguments = ["--llama-bin", programs.path, "--cluster-key", ClusterFixture.randomClusterKey()]
            try await cluster.withNode("a", arguments: arguments) { a in
                try await cluster.withNode("b", arguments: arguments + ["--peer", a.link]) { b in
                    try await cluster.waitUntil(a, sees: 2)
                    let loaded = try await cluster.loadStock(model, layers: Self.layers, on: a)
                    #expect(loaded.generation == 1, "\(loaded.phases)")
                    #expect(try await cluster.complete("Hi", on: b).status == 200)
                    for node in [a, b] { #expect(try logBytes(of: node) > 1 << 20, "it was chatty") }
                }
            }
        }
    }

    private func logBytes(of node: NodeProcess) throws -> Int {
        let folder = node.directory.appending(path: "logs")
        return try FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: [.fileSizeKey])
            .reduce(0) { $0 + (try $1.resourceValues(forKeys: [.fileSizeKey]).fileSize ?? 0) }
    }

    /// Writes as fast as it is read, in whole lines (a pipe keeps together what is written at once, up to 4096 bytes),
    /// so that what the program itself says is in their midst; silent for arguments that only ask.
    private func chatty(_ program: URL, _ chatter: URL) -> String {
        """
        #!/bin/sh
        case "$*" in
        *--help*|*--version*|*--list-devices*) ;;
        *)
            dd if='\(chatter.path)' bs=4040 2>/dev/null &
            (dd if='\(chatter.path)' bs=4040 2>/dev/null) >&2 & ;;
        esac
        exec '\(program.path)' "$@"
        """
    }

    private func write(_ script: String, to file: URL) throws {
        try Data(script.utf8).write(to: file)
        try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: file.path)
    }

    @Test("the recorded command of an instance that has stopped starts the same llama-server from a shell")
    func recordedCommand() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 1) { cluster in
            let node = cluster.nodes[0]
            let loaded = try await cluster.loadStock(model, layers: nil, on: node)
            let logs: [EngineLogReport] = try await cluster.get("/shoal/v1/logs/\(loaded.id)", from: node)
            let launch = try #require(logs.first?.launch)
            let expected = try await cluster.complete("Once upon a time", on: node).text
            _ = try await cluster.send(.DELETE, "/shoal/v1/instances/\(loaded.id)", to: node)
            let shell = Process()
            let end = ProcessEnd(of: shell)
            shell.executableURL = URL(filePath: "/bin/sh")
            shell.arguments = ["-c", "exec \(launch.shellCommand) </dev/null >/dev/null 2>&1"]
            try shell.run()
            defer { end.force() }
            let port = try #require(launch.command.firstIndex(of: "--port").map { launch.command[$0 + 1] })
            var text: String?
            try await eventually("the llama-server of the shell answers") {
                text = try? await answer("Once upon a time", port: port)
                return text != nil
            }
            #expect(text == expected)
        }
    }

    private func answer(_ prompt: String, port: String) async throws -> String {
        let body = JSONObject(["prompt": prompt, "temperature": 0, "max_tokens": 24]).text
        let arguments = ["curl", "-sSf", "-H", "content-type: application/json", "-d", body]
        let (status, output) = try await run(
            URL(filePath: "/usr/bin/env"), arguments + ["http://127.0.0.1:\(port)/v1/completions"])
        guard status == 0, let text = try JSONObject(Data(output.utf8)).string(["choices", 0, "text"]) else {
            throw TestFailure(output)
        }
        return text
    }
}

private func isFree(_ port: Int) -> Bool {
    guard let listener = try? SilentListener(port: port) else { return false }
    listener.close()
    return true
}
