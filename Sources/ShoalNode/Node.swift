package import Logging
import NIOCore
import NIOPosix
package import ShoalCore
package import ShoalEngine
import ShoalLinks
import ShoalTrust
import ShoalWire

/// One running daemon: its links, the stages it holds and the instances it heads.
///
/// Owns the control plane's state. The data plane belongs to `StageHost` and `HeadService`, which live on `dataLoop`
/// together with every link, so that frames and events keep their order without locks.
package actor Node {
    package nonisolated let id: NodeID
    nonisolated let configuration: NodeConfiguration
    nonisolated let logger: Logger
    nonisolated let launcher: any EngineLauncher
    nonisolated let dataLoop: any EventLoop
    nonisolated let models: ModelLibrary
    nonisolated let identity: NodeIntroduction
    nonisolated let security: LinkSecurity
    nonisolated let streams = RequestStreams()
    nonisolated let heads = HeadTable()
    /// Control events that need no order among requests, handled one by one.
    nonisolated let inbox: AsyncStream<NodeEvent>
    nonisolated let inboxContinuation: AsyncStream<NodeEvent>.Continuation

    var peers = PeerTable()
    var stages: [InstanceID: StageHost] = [:]
    /// Which node heads the stages held here.
    var stageHeads: [InstanceID: NodeID] = [:]
    /// By head.
    var announced: [NodeID: [InstanceReport]] = [:]
    var ownReports: [InstanceID: InstanceReport] = [:]
    /// Requests that are computed here for clients of other nodes.
    var requestsByLink: [ObjectIdentifier: [RequestID: InstanceID]] = [:]
    var listener: LinkListener?
    var linkAddress: String
    var isStopping = false
    let dialRequests: AsyncStream<String>
    let dialRequestsContinuation: AsyncStream<String>.Continuation

    /// Events that wait for the node's attention; more are dropped, the next announcement repeats what matters.
    static let inboxEventCountMax = 4096

    /// Reads or makes the node's identity. Throws `fileUnreadable` when the data folder cannot be used.
    package init(configuration: NodeConfiguration, launcher: any EngineLauncher, logger: Logger) throws(ShoalError) {
        security = try NodeIdentity.load(configuration, logger: logger)
        id = security.trust.nodeID
        identity = NodeIntroduction(id: id, configuration: configuration)
        self.configuration = configuration
        self.launcher = launcher
        self.logger = logger
        models = ModelLibrary(folders: configuration.modelFolders)
        dataLoop = MultiThreadedEventLoopGroup.singleton.next()
        linkAddress = configuration.linkAddress
        (inbox, inboxContinuation) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(Self.inboxEventCountMax))
        (dialRequests, dialRequestsContinuation) = AsyncStream.makeStream(
            bufferingPolicy: .bufferingNewest(Limits.peerCountMax))
    }

    /// Accepts links from now on; `run` handles them. Throws `addressUnusable`.
    package func open() async throws(ShoalError) { try await bind() }

    /// Connects to peers and serves until the task is cancelled; then ends answers, engines and links. After `open`.
    package func run() async {
        for address in configuration.peerAddresses { connect(to: address) }
        await withDiscardingTaskGroup { group in
            group.addTask { await self.announceRegularly() }
            group.addTask { await self.handleInbox() }
            group.addTask { await self.spreadMembership() }
            for await address in self.dialRequests {
                group.addTask { await self.keepConnected(to: address) }
            }
            // The stream ends when this task is cancelled; so do the others.
            group.cancelAll()
        }
        await shutDown()
    }

    /// A link address that peers can dial: the bound port, if port 0 was asked for.
    package var boundLinkAddress: String { linkAddress }

    private func bind() async throws(ShoalError) {
        let listener = try await LinkListener.bind(
            LinkAddress(parsing: configuration.linkAddress), eventLoopGroup: dataLoop, security: security,
            hello: { [identity] in identity.hello(purpose: .control) },
            onLink: { [weak self] connection, hello in
                guard let self else { return connection.close(because: nil) }
                inboxContinuation.yield(.linkAccepted(connection, hello))
            })
        self.listener = listener
        linkAddress = listener.boundAddress.description
        identity.bound(to: linkAddress)
    }

    private func handleInbox() async {
        for await event in inbox { await handle(event) }
    }

    /// Ends requests, engines and links, in that order.
    private func shutDown() async {
        isStopping = true
        for head in heads.all {
            await head.stop(ShoalError(.unavailable, "node \(configuration.name) is shutting down"))
        }
        for stage in stages.values { await stage.unload() }
        stages = [:]
        await listener?.close()
        for peer in peers.connected.values {
            for link in peer.links {
                link.close(because: ShoalError(.linkLost, "node \(configuration.name) shut down"))
            }
        }
    }
}

/// What reaches the node from links and heads, to be handled in order.
enum NodeEvent: Sendable {
    case linkAccepted(FrameConnection, LinkHello)
    case linkClosed(ControlLink, ShoalError?)
    case control(ControlEvent, ControlLink)
    case stageNotice(StageNotice, InstanceID, stageIndex: Int)
    case headChanged(InstanceReport)
    case headEnded(InstanceID)
    case requestEnded(RequestID, ControlLink)
    /// The head did not come back within the grace.
    case orphanCheck(NodeID)
}
