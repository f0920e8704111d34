import Foundation
import Logging
import NIOCore
import NIOPosix
import ShoalCore
import ShoalDiscovery
import ShoalLinks
import ShoalReach

/// Discovery and measurement of one node, without the rest of it: what `scripts/test-net.sh` runs in each network
/// namespace. Unlike a node it answers measurements without authentication, so it is part of the tests only.
///
///     shoal-probe run NUMBER NAME=NUMBER@HOST:PORT...   one node; the others are what an invite would tell
///     shoal-probe judge NAME=NUMBER... < ROWS           the plan and the diagnosis of all rows
@main
enum ShoalProbe {
    static let linkPort: UInt16 = 7461

    static func main() async throws {
        let arguments = Array(CommandLine.arguments.dropFirst())
        switch arguments.first {
        case "run": try await run(Array(arguments.dropFirst()))
        case "judge": try judge(Array(arguments.dropFirst()))
        default: throw ShoalError(.invalidRequest, "run or judge")
        }
    }

    static func node(_ text: Substring) throws -> NodeID {
        guard let number = Int(text), let node = NodeID("0\(number)") else {
            throw ShoalError(.invalidRequest, "\(text) is not the number of a node")
        }
        return node
    }

    static func write(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }

    // MARK: One node

    /// Prints `ready`, `seen NODE MILLISECONDS` for each node heard of, then `row JSON` per address and `done`; answers
    /// others until standard input ends.
    private static func run(_ arguments: [String]) async throws {
        let own = try node(arguments.first?[...] ?? "")
        let targets = try arguments.dropFirst().map(Target.init)
        let loop = MultiThreadedEventLoopGroup.singleton.next()
        _ = try await responder(loop)
        let (heard, continuation) = AsyncStream.makeStream(of: NodeID?.self)
        let configuration = DiscoveryConfiguration(
            node: own, cluster: ClusterTag(rawValue: 0x7E57), linkPort: linkPort)
        let begin = ContinuousClock.now
        let discovery = await BeaconService.start(
            configuration, eventLoop: loop, logger: Logger(label: "probe"),
            onDial: { _, node in continuation.yield(node) })
        write("ready")
        let seconds = ProcessInfo.processInfo.environment["SHOAL_PROBE_SECONDS"].flatMap(Int64.init) ?? 3
        loop.scheduleTask(in: .seconds(seconds)) { continuation.finish() }
        var seen: Set<NodeID> = []
        for await node in heard {
            guard let node, seen.insert(node).inserted else { continue }
            write("seen \(node) \(Int((ContinuousClock.now - begin) / .milliseconds(1)))")
        }
        for target in targets where target.node != own {
            write("row " + (try json(await measure(target, from: own, loop))))
        }
        write("done")
        try await NIOThreadPool.singleton.runIfActive { while readLine() != nil {} }
        await discovery.stop()
    }

    private static func responder(_ loop: any EventLoop) async throws -> any Channel {
        try await ServerBootstrap(group: loop)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.autoRead, value: false)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try FrameConnection.attachingPlain(to: channel).start(ProbeResponder())
                }
            }
            .bind(host: "0.0.0.0", port: Int(linkPort)).get()
    }

    private static func measure(_ target: Target, from own: NodeID, _ loop: any EventLoop) async throws -> ReachRow {
        let finding = await LinkProber.dial(target.address, eventLoop: loop)
        var row = ReachRow(
            from: own, to: target.node, address: target.address.description, state: finding.state,
            detail: finding.detail, measuredUnixMilliseconds: Int64(Date().timeIntervalSince1970 * 1000))
        guard finding.state == .open else { return row }
        let connection = try await ClientBootstrap(group: loop)
            .channelOption(.autoRead, value: false)
            .connect(host: target.address.host, port: Int(target.address.port)) { channel in
                channel.eventLoop.makeCompletedFuture { try FrameConnection.attachingPlain(to: channel) }
            }
        row.quality = try await LinkProber.measure(on: connection)
        return row
    }

    private static func json(_ row: ReachRow) throws -> String {
        String(decoding: try JSONEncoder().encode(row), as: UTF8.self)
    }

    // MARK: All nodes

    /// Prints `link FROM TO ADDRESS STATE BULK`, `pair FIRST SECOND WAY` and `doctor OUTCOME SENTENCE` lines.
    private static func judge(_ arguments: [String]) throws {
        let targets = try arguments.map(Target.init)
        var matrix = ReachMatrix()
        while let line = readLine() {
            matrix.merge([try JSONDecoder().decode(ReachRow.self, from: Data(line.utf8))])
        }
        func name(_ node: NodeID) -> String { targets.first { $0.node == node }?.name ?? node.rawValue }
        let report = ReachReport(matrix, members: targets.map(\.node), name: name)
        for link in report.links {
            let bulk = link.bulkPassed.map { $0 ? "passed" : "stalled" } ?? "-"
            write("link \(link.fromName) \(link.toName) \(link.address) \(link.state.rawValue) \(bulk)")
        }
        for pair in report.pairs {
            let relay = pair.relayName.map { " \($0)" } ?? ""
            write("pair \(pair.firstName) \(pair.secondName) \(pair.way.rawValue)\(relay)")
        }
        let nodes = targets.map { target in
            NodeFacts(
                id: target.node, name: target.name, shoalVersion: ShoalVersion.current,
                protocolNumber: ShoalVersion.protocolNumber, engineBuild: "", addresses: [target.address.host],
                linkPort: linkPort, isLinked: true)
        }
        for check in Diagnosis.report(nodes: nodes, matrix: matrix).checks {
            write("doctor \(check.outcome.rawValue) \(check.finding)" + (check.advice.map { "; \($0)" } ?? ""))
        }
    }
}

/// NAME=NUMBER@HOST:PORT of the command line.
private struct Target {
    var name: String
    var node: NodeID
    var address: LinkAddress

    init(_ text: String) throws {
        let sides = text.split(separator: "=", maxSplits: 1)
        let parts = sides.last?.split(separator: "@", maxSplits: 1) ?? []
        guard sides.count == 2, parts.count == 2 else {
            throw ShoalError(.invalidRequest, "\"\(text)\" is not NAME=NUMBER@HOST:PORT")
        }
        name = String(sides[0])
        node = try ShoalProbe.node(parts[0])
        address = try LinkAddress(parsing: String(parts[1]))
    }
}
