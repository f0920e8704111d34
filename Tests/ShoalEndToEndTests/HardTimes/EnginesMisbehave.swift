import Foundation
import ShoalCore
import Testing

extension HardTimes {
    /// Engines that hang, drown, crash again and again, or are no engines at all.
    @Suite("Engines misbehave", .timeLimit(.minutes(10)))
    struct EnginesMisbehave {
        @Test("an engine that stands still in the middle of an answer is ended as hung, and the answer goes on")
        func stoppedWhileAnswering() async throws {
            let model = try TestFiles.require(TestFiles.referenceModel)
            try await ClusterFixture.with(nodeCount: 2) { cluster in
                let loaded = try await cluster.load(model, layers: "a=0-14,b=15-29", on: cluster.nodes[0])
                let stream = try await TokenStream.open("Tell me a very long story.", on: cluster.nodes[0])
                var lines = stream.lines.makeAsyncIterator()
                for _ in 0..<5 { _ = try await lines.next() }
                let engine = try await enginePID(loaded.id, 1, cluster)
                kill(engine, SIGSTOP)
                var rest: [String] = []
                while let line = try await lines.next() { rest.append(line) }
                #expect(rest.last == "data: [DONE]", "\(rest.last ?? "nothing")")
                #expect(!rest.joined().contains("\"error\""))
                let log = cluster.nodes[1].log
                #expect(log.contains("the engine hung"), "\(log)")
                #expect(log.contains("stopped by a signal"), "\(log)")
                try await expectAnswers(loaded.id, cluster)
            }
        }

        @Test("an engine that stands still while it loads is ended as hung, and the load goes on with another one")
        func stoppedWhileLoading() async throws {
            let model = try TestFiles.require(TestFiles.referenceModel)
            try await ClusterFixture.withStrangers(nodeCount: 0) { cluster in
                let engine = try await EngineScript.signalled(SIGSTOP, onlyFirst: true, in: cluster.directory)
                try await cluster.withNode("a", environment: ["SHOAL_ENGINE": engine.path]) { node in
                    try await cluster.waitUntil(node, sees: 1)
                    let loaded = try await cluster.load(model, layers: nil, on: node)
                    #expect(loaded.stages[0].restartCount == 1)
                    #expect(node.log.contains("the engine hung"), "\(node.log)")
                    let (status, _) = try await cluster.chat("What is the capital of France?", on: node)
                    #expect(status == 200)
                }
            }
        }

        @Test("an engine that crashes at every load is given up with the cause, and the node goes on")
        func crashLoop() async throws {
            let model = try TestFiles.require(TestFiles.referenceModel)
            try await ClusterFixture.withStrangers(nodeCount: 0) { cluster in
                let engine = try await EngineScript.signalled(SIGSEGV, onlyFirst: false, in: cluster.directory)
                try await cluster.withNode("a", environment: ["SHOAL_ENGINE": engine.path]) { node in
                    try await cluster.waitUntil(node, sees: 1)
                    do {
                        _ = try await cluster.load(model, layers: nil, on: node)
                        Issue.record("the model was loaded")
                    } catch let failure as TestFailure {
                        #expect(failure.description.contains("giving up after 5 failures"), "\(failure)")
                        #expect(failure.description.contains("signal 11 (SIGSEGV)"), "\(failure)")
                    }
                    let (status, _) = try await cluster.send(.GET, "/health", to: node)
                    #expect(status == 200)
                    // The one that measures the machine's speed may still run.
                    try await eventually("no engine is left") { try children(of: node.processID).isEmpty }
                }
            }
        }

        @Test("a program that is no engine, has vanished, or may not be run is named, with what to do")
        func noEngine() async throws {
            let model = try TestFiles.require(TestFiles.referenceModel)
            try await ClusterFixture.withStrangers(nodeCount: 0) { cluster in
                let missing = cluster.directory.appending(path: "nowhere")
                let plain = cluster.directory.appending(path: "plain")
                try Data("text".utf8).write(to: plain)
                for path in [missing.path, plain.path] {
                    try await cluster.withNode("x", environment: ["SHOAL_ENGINE": path]) { node in
                        let status = try await node.waitForExit()
                        #expect(status != 0)
                        #expect(node.log.contains("there is no engine program at \(path)"), "\(node.log)")
                    }
                }
                let vanishing = try EngineScript.write("exit 0", in: cluster.directory)
                let wrong = try EngineScript.write("echo 'I am somebody else' >&2; exit 0", in: cluster.directory)
                for (file, words) in [(vanishing, "there is no engine program at"), (wrong, "I am somebody else")] {
                    try await cluster.withNode("y", environment: ["SHOAL_ENGINE": file.path]) { node in
                        try await cluster.waitUntil(node, sees: 1)
                        if file == vanishing { try FileManager.default.removeItem(at: file) }
                        do {
                            _ = try await cluster.load(model, layers: nil, on: node)
                            Issue.record("a model was loaded without an engine")
                        } catch let failure as TestFailure {
                            #expect(failure.description.contains(words), "\(failure)")
                            #expect(failure.description.contains(file.path), "\(failure)")
                        }
                        #expect(node.isRunning)
                    }
                }
            }
        }

        @Test("an engine that the system kills for lack of memory is said to have had too little, and the node lives")
        func outOfMemory() async throws {
            let model = try TestFiles.require(TestFiles.referenceModel)
            guard let group = MemoryGroup(byteCountMax: 100 << 20) else { return MemoryGroup.reportImpossible() }
            defer { group.remove() }
            try await ClusterFixture.withStrangers(nodeCount: 0) { cluster in
                try await cluster.withNode("small", wrapper: group.wrapper) { node in
                    try await cluster.waitUntil(node, sees: 1)
                    do {
                        _ = try await cluster.load(model, layers: "small=0-29", on: node)
                        Issue.record("98 MB of weights were loaded into 100 MB beside a node")
                    } catch let failure as TestFailure {
                        #expect(failure.description.contains("memory ran out"), "\(failure)")
                    }
                    #expect(node.isRunning, "the engine is killed first, not the node")
                    let (status, _) = try await cluster.send(.GET, "/health", to: node)
                    #expect(status == 200)
                }
            }
        }

        @Test("an engine that stands still does not outlive a killed node")
        func stoppedOrphan() async throws {
            let model = try TestFiles.require(TestFiles.referenceModel)
            try await ClusterFixture.with(nodeCount: 1) { cluster in
                let loaded = try await cluster.load(model, layers: nil, on: cluster.nodes[0])
                let engine = try await enginePID(loaded.id, 0, cluster)
                kill(engine, SIGSTOP)
                cluster.nodes[0].signal(SIGKILL)
                try await eventually("engine \(engine) is gone") { !isAlive(engine) }
            }
        }

        // MARK: Looking at processes

        private func expectAnswers(_ id: InstanceID, _ cluster: ClusterFixture) async throws {
            try await eventually("the instance is ready again") {
                try await cluster.instance(id, from: cluster.nodes[0]).phase == .ready
            }
            let (status, answer) = try await cluster.chat("What is the capital of France?", on: cluster.nodes[0])
            #expect(status == 200)
            #expect(answer.string(["choices", 0, "message", "content"])?.contains("Paris") == true, "\(answer.text)")
            #expect(cluster.allNodesRun)
        }

        private func enginePID(_ id: InstanceID, _ stage: Int, _ cluster: ClusterFixture) async throws -> Int32 {
            var found: Int32?
            try await eventually("stage \(stage) reports its engine") {
                found = try await cluster.instance(id, from: cluster.nodes[0]).stages[stage].engineProcessID
                return found.map(isAlive) ?? false
            }
            return try #require(found)
        }

        /// Zombies do not count.
        private func isAlive(_ process: Int32) -> Bool { state(of: process).map { $0.state != "Z" } ?? false }

        private func children(of parent: Int32) throws -> [Int32] {
            try FileManager.default.contentsOfDirectory(atPath: "/proc").compactMap { Int32($0) }
                .filter { state(of: $0)?.parent == parent }
        }

        private func state(of process: Int32) -> (state: String, parent: Int32)? {
            guard let stat = try? String(contentsOfFile: "/proc/\(process)/stat", encoding: .utf8),
                let fields = stat.split(separator: ")").last?.split(separator: " "), fields.count > 1,
                let parent = Int32(fields[1])
            else { return nil }
            return (String(fields[0]), parent)
        }
    }
}
