import Foundation
import ShoalCore
import ShoalTrust
import Testing

extension HardTimes {
    /// A node's folder full, damaged, or not its own.
    @Suite("The data folder may fail", .timeLimit(.minutes(10)))
    struct DataFolderMayFail {
        @Test("a node whose disk is full keeps serving, says what it could not store, and stores it later")
        func fullDisk() async throws {
            guard TinyDisk.isPossible else { return TinyDisk.reportImpossible() }
            let model = try TestFiles.require(TestFiles.referenceModel)
            try await ClusterFixture.withStrangers(nodeCount: 2) { cluster in
                let folder = cluster.directory.appending(path: "tiny")
                try await cluster.withNode("tiny", wrapper: TinyDisk.wrapper(mountedAt: folder)) { node in
                    try await cluster.waitUntil(node, sees: 1)
                    let disk = TinyDisk(of: node)
                    // Membership, before and after.
                    try await join(cluster.nodes[0], invitedBy: node, cluster)
                    try await cluster.waitUntil(node, sees: 2)
                    try disk.fill()
                    let (status, body) = try await cluster.send(.POST, "/shoal/v1/invites", to: node, body: "{}")
                    #expect(status >= 400)
                    #expect(String(decoding: body, as: UTF8.self).contains("is the disk full?"))
                    // Engine logs: nothing of them fits, and the model answers all the same.
                    _ = try await cluster.load(model, layers: "tiny=0-14,a=15-29", on: node)
                    let (answered, answer) = try await cluster.chat("What is the capital of France?", on: node)
                    #expect(answered == 200, "\(answer.text)")
                    let logs: [EngineLogReport] = try await cluster.get("/shoal/v1/logs/tiny", from: node)
                    #expect(logs.first?.lines.last?.contains("No space left on device") == true, "\(logs)")
                    // What others tell counts, though it cannot be stored.
                    try await join(cluster.nodes[1], invitedBy: cluster.nodes[0], cluster)
                    try await eventually("the full node knows the new member") {
                        let members: [MemberReport] = try await cluster.get("/shoal/v1/members", from: node)
                        return members.count == 3
                    }
                    #expect(node.isRunning)
                    try disk.free()
                    try await eventually("the members are stored") {
                        try disk.text(of: "cluster").contains("\"name\" : \"b\"")
                    }
                    let (again, _) = try await cluster.send(.POST, "/shoal/v1/invites", to: node, body: "{}")
                    #expect(again == 201)
                }
            }
        }

        @Test("a node that was there before starts on a full disk; a new one says why it cannot")
        func startsOnFullDisk() async throws {
            guard TinyDisk.isPossible else { return TinyDisk.reportImpossible() }
            try await ClusterFixture.withStrangers(nodeCount: 1) { cluster in
                let node = cluster.nodes[0]
                let reports: [NodeReport] = try await cluster.get("/shoal/v1/nodes", from: node)
                await node.stop()
                let folder = cluster.directory.appending(path: "again")
                let known = TinyDisk.wrapper(mountedAt: folder, copying: node.directory, isFull: true)
                try await cluster.withNode("again", wrapper: known) { again in
                    try await cluster.waitUntil(again, sees: 1)
                    let found: [NodeReport] = try await cluster.get("/shoal/v1/nodes", from: again)
                    #expect(found.map(\.id) == reports.map(\.id))
                }
                let fresh = cluster.directory.appending(path: "fresh")
                try await cluster.withNode("fresh", wrapper: TinyDisk.wrapper(mountedAt: fresh, isFull: true)) { node in
                    let status = try await node.waitForExit()
                    #expect(status != 0)
                    #expect(node.log.contains("node-key cannot be written"), "\(node.log)")
                    #expect(node.log.contains("is the disk full?"))
                }
            }
        }

        @Test(
            "every damaged state file is moved aside and named, and the node starts",
            arguments: ["cut", "empty", "garbage", "huge"])
        func damagedState(how: String) async throws {
            let model = try TestFiles.require(TestFiles.referenceModel)
            try await ClusterFixture.with(nodeCount: 2) { cluster in
                // Everything that a node stores in an ordinary life.
                let loaded = try await cluster.load(model, layers: "a=0-14,b=15-29", on: cluster.nodes[0])
                _ = try await cluster.chat("Hello", on: cluster.nodes[0])
                _ = try await cluster.send(.DELETE, "/shoal/v1/instances/\(loaded.id)", to: cluster.nodes[0])
                let node = cluster.nodes[0]
                await node.stop()
                let files = try stateFiles(in: node.directory)
                #expect(files.contains("cluster"))
                for file in files {
                    let url = node.directory.appending(path: file)
                    let content = try Data(contentsOf: url)
                    switch how {
                    case "cut": try content.prefix(content.count / 2).write(to: url)
                    case "empty": try Data().write(to: url)
                    case "garbage": try Data((0..<997).map { UInt8(truncatingIfNeeded: $0 &* 89) }).write(to: url)
                    default: try Data(count: 64 << 20).write(to: url)
                    }
                }
                try await cluster.withNode("a", arguments: cluster.arguments) { again in
                    try await cluster.waitUntil(again, sees: 2)
                    for file in files {
                        let kept = try FileManager.default.contentsOfDirectory(atPath: node.directory.path)
                            .filter { $0.hasPrefix("\(file).") }
                        #expect(!kept.isEmpty, "\(file) was not kept aside")
                        #expect(again.log.contains("/\(file)."), "\(file) is not named in:\n\(again.log)")
                    }
                }
            }
        }

        @Test("a damaged key is refused with what to do, and nothing is overwritten")
        func damagedKey() async throws {
            try await ClusterFixture.withStrangers(nodeCount: 1) { cluster in
                let node = cluster.nodes[0]
                await node.stop()
                let key = node.directory.appending(path: "node-key")
                let damaged = Data("not a key".utf8)
                try damaged.write(to: key)
                try await cluster.withNode("a") { again in
                    let status = try await again.waitForExit()
                    #expect(status != 0)
                    #expect(again.log.contains("node-key does not hold a node's key; restore it, or delete it"))
                    let kept = try Data(contentsOf: key)
                    #expect(kept == damaged)
                }
            }
        }

        /// What the node keeps, but for its key and what it only writes.
        private func stateFiles(in folder: URL) throws -> [String] {
            try FileManager.default.subpathsOfDirectory(atPath: folder.path).filter { path in
                var isFolder: ObjCBool = false
                _ = FileManager.default.fileExists(atPath: folder.appending(path: path).path, isDirectory: &isFolder)
                return !isFolder.boolValue && !path.hasPrefix("logs/") && path != "node.log" && path != "node-key"
            }
        }

        private func join(
            _ node: NodeProcess, invitedBy issuer: NodeProcess, _ cluster: ClusterFixture
        ) async throws {
            let (_, body) = try await cluster.send(.POST, "/shoal/v1/invites", to: issuer, body: "{}")
            let code = try #require(JSONDecoder().decode(InviteReport.self, from: body).code)
            let (status, answer) = try await cluster.send(
                .POST, "/shoal/v1/join", to: node, body: "{\"code\": \"\(code)\"}")
            #expect(status == 200, "\(String(decoding: answer, as: UTF8.self))")
        }
    }
}
