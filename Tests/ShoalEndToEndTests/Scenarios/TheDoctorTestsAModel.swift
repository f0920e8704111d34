import Foundation
import ShoalCore
import Testing

@Suite("The doctor tests a model", .serialized)
struct TheDoctorTestsAModel {
    private static let layers = "a=0-14,b=15-29"

    @Test("every step passes, code 0, and nothing stays loaded", arguments: ["rpc", "stages"])
    func success(engine: String) async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 2) { cluster in
            let (status, output) = try await doctor(cluster, "--model", model.path, "--engine", engine)
            #expect(status == 0, "\(output)")
            let steps = ["discovery", "file", "launch", "load across every device", "prompt", "complete answer"]
            let lines = output.split(separator: "\n")
            #expect(lines.count == steps.count, "\(output)")
            for (line, step) in zip(lines, steps) { #expect(line.hasPrefix("pass  \(step): "), "\(output)") }
            #expect(lines[3].contains("a ") && lines[3].contains("b ") && lines[3].contains(" %"), "\(output)")
            try await expectNothing(cluster)
        }
    }

    @Test("the first step that fails is the last line, with the reason, and the code is 1")
    func failures() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 2) { cluster in
            let missing = try await doctor(cluster, "--model", "/nowhere/missing.gguf", "--engine", "rpc")
            #expect(missing.status == 1)
            #expect(missing.output.contains("pass  discovery: 2 of 2 nodes: a, b"), "\(missing.output)")
            #expect(lastLine(missing.output).hasPrefix("FAIL  file: "), "\(missing.output)")
            #expect(missing.output.contains("/nowhere/missing.gguf"), "\(missing.output)")
            let victim = cluster.nodes[1]
            victim.signal(SIGKILL)
            _ = try await victim.waitForExit()
            try await eventually("a knows that b is gone") {
                let nodes: [NodeReport] = try await cluster.get("/shoal/v1/nodes", from: cluster.nodes[0])
                return nodes.contains { $0.name == "b" && $0.reachability == .unreachable }
            }
            let lost = try await doctor(cluster, "--model", model.path, "--engine", "rpc")
            #expect(lost.status == 1)
            #expect(lastLine(lost.output).hasPrefix("FAIL  discovery: 1 of 2 nodes; missing: b"), "\(lost.output)")
        }
    }

    @Test("a worker that dies at every launch fails the launch, with the cause, and nothing stays behind")
    func deadWorker() async throws {
        let model = try TestFiles.require(TestFiles.referenceModel)
        try await ClusterFixture.with(nodeCount: 0) { cluster in
            let programs = cluster.directory.appending(path: "programs")
            try FileManager.default.createDirectory(at: programs, withIntermediateDirectories: true)
            let server = try TestFiles.llamaProgram("llama-server")
            try FileManager.default.createSymbolicLink(
                at: programs.appending(path: "llama-server"), withDestinationURL: server)
            let worker = programs.appending(path: "ggml-rpc-server")
            let script = """
                #!/bin/sh
                case "$*" in *--help*) exec '\(try TestFiles.llamaProgram("ggml-rpc-server").path)' --help ;; esac
                echo 'the worker is out of order' >&2
                exit 3
                """
            try Data(script.utf8).write(to: worker)
            try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: worker.path)
            let key = ["--cluster-key", ClusterFixture.randomClusterKey()]
            try await cluster.withNode("a", arguments: key) { a in
                let arguments = key + ["--llama-bin", programs.path, "--peer", a.link]
                try await cluster.withNode("b", arguments: arguments) { _ in
                    try await cluster.waitUntil(a, sees: 2)
                    let (status, output) = try await doctor(
                        a, "--model", model.path, "--engine", "rpc", "--layers", Self.layers)
                    #expect(status == 1)
                    #expect(lastLine(output).hasPrefix("FAIL  launch: "), "\(output)")
                    #expect(lastLine(output).contains("ggml-rpc-server on node b exited with code 3"), "\(output)")
                    let left: [InstanceReport] = try await cluster.get("/shoal/v1/instances", from: a)
                    #expect(left.isEmpty)
                }
            }
        }
    }

    // MARK: What the tests share

    private func doctor(
        _ cluster: ClusterFixture, _ arguments: String...
    ) async throws -> (status: Int32, output: String) {
        let placed = arguments.contains("/nowhere/missing.gguf") ? [] : ["--layers", Self.layers]
        return try await run(
            Binaries.shoal, ["doctor", "--host", cluster.nodes[0].api] + arguments + placed)
    }

    private func doctor(_ node: NodeProcess, _ arguments: String...) async throws -> (status: Int32, output: String) {
        try await run(Binaries.shoal, ["doctor", "--host", node.api] + arguments)
    }

    private func lastLine(_ output: String) -> Substring { output.split(separator: "\n").last ?? "" }

    private func expectNothing(_ cluster: ClusterFixture) async throws {
        try await eventually("nothing stays loaded") {
            let left: [InstanceReport] = try await cluster.get("/shoal/v1/instances", from: cluster.nodes[1])
            return left.isEmpty
        }
    }
}
