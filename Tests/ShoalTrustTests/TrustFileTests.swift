import Foundation
import ShoalCore
import Testing

@testable import ShoalTrust

@Suite("Trust on disk")
struct TrustFileTests {
    private func withFolder(_ body: (String) throws -> Void) throws {
        let folder = FileManager.default.temporaryDirectory.appending(path: "shoal-trust-\(UUID().uuidString)").path
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: folder) }
        try body(folder)
    }

    private func mode(_ path: String) throws -> Int {
        try #require(FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int)
    }

    private func open(_ folder: String, key: ClusterKey? = nil) throws -> ClusterTrust {
        try ClusterTrust.open(in: folder, nodeName: "a", clusterKey: key, now: 7).trust
    }

    @Test("a node keeps its key, its cluster and its members, in files of mode 0600")
    func keeps() throws {
        try withFolder { folder in
            let first = try open(folder)
            let other = try ClusterTrust.inMemory(nodeName: "b")
            let invite = try first.invite(addresses: ["127.0.0.1:1"], lifetimeSeconds: 60, now: 7)
            _ = first.judge(try other.request(with: invite.1).request, from: other.nodeID, now: 8)
            let second = try open(folder)
            #expect(second.nodeID == first.nodeID)
            #expect(second.clusterID == first.clusterID)
            #expect(second.members == first.members)
            #expect(second.members.count == 2)
            #expect(second.invites.map(\.state) == [.used(by: other.nodeID)])
            #expect(second.nodeKey.privateKeyDER == first.nodeKey.privateKeyDER)
            for name in ["node-key", "cluster"] { #expect(try mode("\(folder)/\(name)") == 0o600) }
            #expect(try FileManager.default.contentsOfDirectory(atPath: folder).count == 2)
        }
    }

    @Test("a key that others may read is closed to them")
    func tightens() throws {
        try withFolder { folder in
            _ = try open(folder)
            try FileManager.default.setAttributes([.posixPermissions: 0o644], ofItemAtPath: folder + "/node-key")
            _ = try open(folder)
            #expect(try mode(folder + "/node-key") == 0o600)
        }
    }

    @Test("a damaged key is refused, not replaced")
    func damagedKey() throws {
        try withFolder { folder in
            try Data("hello".utf8).write(to: URL(filePath: folder + "/node-key"))
            let error = #expect(throws: ShoalError.self) { _ = try open(folder) }
            #expect(error?.message.contains("node-key does not hold a node's key") == true)
        }
    }

    @Test("one changed byte anywhere in the state is noticed; the file is kept aside and the node starts alone")
    func damagedState() throws {
        try withFolder { folder in
            let original = try open(folder)
            let path = folder + "/cluster"
            let bytes = try Data(contentsOf: URL(filePath: path))
            for offset in stride(from: 0, to: bytes.count, by: 7) {
                var damaged = bytes
                damaged[offset] ^= 1
                #expect(ClusterState(decoding: Array(damaged)) == nil, "offset \(offset)")
            }
            #expect(ClusterState(decoding: Array(bytes)) != nil)
            #expect(ClusterState(decoding: Array(bytes.prefix(bytes.count / 2))) == nil)
            try Data(bytes.dropLast(3)).write(to: URL(filePath: path))
            let (trust, notice) = try ClusterTrust.open(in: folder, nodeName: "a", now: 9)
            #expect(notice?.contains("was damaged") == true)
            #expect(trust.nodeID == original.nodeID)
            #expect(trust.clusterID != original.clusterID)
            #expect(FileManager.default.fileExists(atPath: path + ".damaged-9"))
        }
    }

    @Test(
        "a state file that is empty or far too large is damaged too", arguments: [0, ClusterState.fileByteCountMax + 9])
    func sizes(byteCount: Int) throws {
        try withFolder { folder in
            _ = try open(folder)
            let path = folder + "/cluster"
            try Data(count: byteCount).write(to: URL(filePath: path))
            let (_, notice) = try ClusterTrust.open(in: folder, nodeName: "a", now: 9)
            #expect(notice?.contains("\(path).damaged-9") == true, "\(notice ?? "no notice")")
            #expect(try Data(contentsOf: URL(filePath: path + ".damaged-9")).count == byteCount)
        }
    }

    @Test("what could not be stored counts, and is stored later")
    func storedLater() throws {
        try withFolder { folder in
            let trust = try open(folder)
            // A folder in the way of the temporary file: even root cannot write it.
            let obstacle = folder + "/cluster.new/x"
            try FileManager.default.createDirectory(atPath: obstacle, withIntermediateDirectories: true)
            let other = try NodeKey.make().nodeID
            let error = #expect(throws: ShoalError.self) { try trust.forget(other, now: 8) }
            #expect(error?.message.contains("is the disk full?") == true)
            #expect(trust.records.contains { $0.member.nodeID == other && $0.isForgotten })
            #expect(throws: ShoalError.self) { _ = try trust.storeIfBehind() }
            #expect(try open(folder).records.count == 1)
            try FileManager.default.removeItem(atPath: folder + "/cluster.new")
            #expect(try trust.storeIfBehind())
            #expect(try !trust.storeIfBehind())
            #expect(try open(folder).records.count == 2)
        }
    }

    @Test("a node that hears that it was forgotten starts alone the next time")
    func forgottenItself() throws {
        try withFolder { folder in
            let trust = try open(folder)
            var elsewhere = MemberList()
            let key = try #require(ClusterState(decoding: Array(Data(contentsOf: URL(filePath: folder + "/cluster")))))
            _ = elsewhere.forget(trust.nodeID, key: key.key, now: 8)
            try trust.merge(elsewhere.allRecords)
            let (again, notice) = try ClusterTrust.open(in: folder, nodeName: "a", now: 9)
            #expect(notice?.contains("was removed from its cluster") == true)
            #expect(again.clusterID != trust.clusterID)
        }
    }

    @Test("a key from outside replaces the own one of a node that is alone, and no other's")
    func keyFromOutside() throws {
        try withFolder { folder in
            _ = try open(folder)
            let (key, wrong) = (ClusterKey.random(), ClusterKey.random())
            let shared = try open(folder, key: key)
            #expect(shared.clusterID == key.clusterID)
            #expect(shared.sharesKey)
            let other = try ClusterTrust.inMemory(nodeName: "b", clusterKey: key, sharesKey: true)
            _ = shared.judge(try #require(other.request(to: shared.nodeID)).request, from: other.nodeID, now: 8)
            let error = #expect(throws: ShoalError.self) { _ = try open(folder, key: wrong) }
            #expect(error?.message.contains("--cluster-key: this node is a member of cluster \(key.clusterID)") == true)
            #expect(try open(folder, key: key).members.count == 2)
            #expect(try !open(folder).sharesKey)
        }
    }

    @Test("a cluster key is read from text or from a file, and never shown by accident")
    func keySources() throws {
        try withFolder { folder in
            let key = ClusterKey.random()
            #expect(try ClusterKey(textOrFile: key.hexadecimal) == key)
            let path = folder + "/key"
            try Data((key.hexadecimal + "\n").utf8).write(to: URL(filePath: path))
            #expect(try ClusterKey(textOrFile: path) == key)
            try Data("secret".utf8).write(to: URL(filePath: path))
            #expect(throws: ShoalError.self) { try ClusterKey(textOrFile: path) }
            let error = #expect(throws: ShoalError.self) { try ClusterKey(textOrFile: folder + "/none") }
            #expect(error?.message.contains("/dev/urandom") == true)
            #expect(!"\(key)".contains(key.hexadecimal))
        }
    }

    @Test("the node's id is the hash of the key in its certificate")
    func nodeID() throws {
        let (a, b) = (try NodeKey.make(), try NodeKey.make())
        #expect(a.nodeID != b.nodeID)
        #expect(a.nodeID.rawValue.count == 64)
    }
}
