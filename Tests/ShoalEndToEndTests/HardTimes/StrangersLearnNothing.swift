import Foundation
import NIOCore
import NIOPosix
import NIOSSL
import ShoalCore
import ShoalDiscovery
import ShoalTesting
import ShoalTrust
import Testing

extension HardTimes {
    /// Every socket of a node, spoken to by somebody who is not a member.
    @Suite("Strangers learn nothing", .timeLimit(.minutes(10)))
    struct StrangersLearnNothing {
        /// A TLS alert record: all that a failed handshake may say.
        private static let alertByteCount = 7

        @Test("a node listens at its API, its link and the discovery port, and only at the addresses it was told")
        func listensNowhereElse() async throws {
            try await ClusterFixture.with(nodeCount: 2) { cluster in
                let model = try TestFiles.require(TestFiles.referenceModel)
                _ = try await cluster.load(model, layers: "a=0-14,b=15-29", on: cluster.nodes[0])
                for node in cluster.nodes {
                    let sockets = try ProcessSockets(of: node.processID)
                    #expect(sockets.listening == [node.api, node.link], "node \(node.name)")
                    let ports = sockets.datagram.subtracting(["0.0.0.0:7461", "[::]:7461"])
                    // Beacons leave from here; what comes in is judged like what comes to the discovery port.
                    #expect(ports.allSatisfy { $0.hasPrefix("127.0.0.1:") }, "\(ports)")
                }
            }
        }

        @Test(
            "the link port says not a byte to silence, nonsense, HTTP, or TLS without a member's key",
            arguments: [true, false])
        func linkPort(isAdmissionOpen: Bool) async throws {
            let arguments = isAdmissionOpen ? ["--cluster-key", ClusterFixture.randomClusterKey()] : []
            try await ClusterFixture.withStrangers(nodeCount: 1, arguments: arguments) { cluster in
                let node = cluster.nodes[0]
                let nonsense = (0..<4096).map { UInt8(truncatingIfNeeded: $0 &* 167 &+ 13) }
                let plain: [(String, [UInt8])] = [
                    ("silence", []), ("nonsense", nonsense),
                    ("HTTP", Array("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".utf8)),
                    ("a frame in the clear", Array("SHOL".utf8) + [1, 0x40] + [UInt8](repeating: 0, count: 30)),
                ]
                for (kind, words) in plain {
                    let answer = try await Stranger.talk(to: node.link, saying: words)
                    #expect(answer.bytes.count <= Self.alertByteCount, "\(kind): \(answer.bytes)")
                }
                var ways: [(String, Stranger.TLS)] = [
                    ("no certificate", .init()), ("a stranger's key", .init(key: try NodeKey.make())),
                ]
                ways.append(("TLS 1.2", .init(key: try NodeKey.make(), maximumVersion: .tlsv12)))
                ways.append(("another protocol", .init(key: try NodeKey.make(), applicationProtocol: "h2")))
                for (kind, tls) in ways {
                    for words in [[], nonsense] {
                        let answer = try await Stranger.talk(to: node.link, tls: tls, saying: words)
                        #expect(answer.bytes.isEmpty, "\(kind): \(answer.bytes)")
                    }
                }
                #expect(cluster.allNodesRun)
                let nodes: [NodeReport] = try await cluster.get("/shoal/v1/nodes", from: node)
                #expect(nodes.count == 1, "nobody became a node: \(nodes)")
            }
        }

        @Test("the API port speaks HTTP, only after it was spoken to")
        func apiPort() async throws {
            try await ClusterFixture.withStrangers(nodeCount: 1) { cluster in
                let node = cluster.nodes[0]
                let silence = try await Stranger.talk(to: node.api, hangsUp: true)
                #expect(silence.bytes.isEmpty, "\(silence.text)")
                let hello: [UInt8] = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xFC, 3, 3] + [UInt8](repeating: 7, count: 502)
                for words in [Array("nonsense\r\n\r\n".utf8), hello] {
                    let answer = try await Stranger.talk(to: node.api, saying: words, hangsUp: true)
                    #expect(answer.bytes.isEmpty || answer.text.hasPrefix("HTTP/1.1 4"), "\(answer.text)")
                }
                let (status, _) = try await cluster.send(.GET, "/health", to: node)
                #expect(status == 200)
            }
        }

        @Test("nonsense on the discovery port is not answered, and a beacon tells an id and a port, nothing else")
        func discoveryPort() async throws {
            try await ClusterFixture.withStrangers(nodeCount: 1) { cluster in
                let node = cluster.nodes[0]
                let reports: [NodeReport] = try await cluster.get("/shoal/v1/nodes", from: node)
                let id = try #require(reports.first?.id)
                let answers = EventRecorder<[UInt8]>()
                let socket = try await DatagramStranger.open(answers)
                let other = Beacon(
                    kind: .announcement, protocolNumber: ShoalVersion.protocolNumber,
                    cluster: ClusterTag(rawValue: 1), node: .random(), linkPort: 9)
                for bytes in [[], Array("SHBN".utf8), [UInt8](repeating: 0xFF, count: 1400), BeaconCodec.encode(other)]
                {
                    try await socket.send(bytes)
                }
                // Whoever hears one beacon can repeat its cluster's tag: that is answered, with a beacon.
                let heard = try await socket.clusterTag(of: id)
                var same = other
                same.cluster = heard
                try await eventually("the node answers a beacon of its cluster") {
                    try await socket.send(BeaconCodec.encode(same))
                    return !answers.events.isEmpty
                }
                let port = try #require(UInt16(node.link.split(separator: ":").last ?? ""))
                let expected = Beacon(
                    kind: .reply, protocolNumber: ShoalVersion.protocolNumber, cluster: heard, node: id, linkPort: port)
                for answer in answers.events { #expect(answer == BeaconCodec.encode(expected)) }
                await socket.close()
            }
        }
    }
}
