package import Logging
import NIOCore
import NIOPosix
package import ShoalCore
import ShoalDiscovery
package import ShoalEngine
import ShoalLinks
import ShoalMembership
import ShoalTrust
import ShoalTunnel
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
    /// For measurements, which must not delay activations.
    nonisolated let probeLoop: any EventLoop
    nonisolated let models: ModelLibrary
    nonisolated let identity: NodeIntroduction
    nonisolated let security: LinkSecurity
    nonisolated let streams = RequestStreams()
    nonisolated let lostAnswers = LostAnswers()
    nonisolated let heads = HeadTable()
    nonisolated let answerTimes = AnswerTimes()
    /// Control events that need no order among requests, handled one by one.
    nonisolated let inbox = NodeInbox()
    /// Who is alive, who leads, what should run.
    nonisolated let keeper: ClusterKeeper
    nonisolated let interfaces = InterfaceWatch()
    nonisolated let notes = DoctorNotes()
    nonisolated let reversals: ReverseDials
    nonisolated let relays: RelayDesk
    nonisolated let memory: PeerMemory

    /// Nil where llama.cpp's programs are missing.
    nonisolated let llamaTools: LlamaTools?

    var peers = PeerTable()
    var reach: ReachState
    /// How the last connection to each node came about.
    var routes: [NodeID: LinkRoute] = [:]
    var stages: [InstanceID: StageHost] = [:]
    /// Stock workers that run here, or whose traffic goes through here, by stage.
    var workers: [InstanceID: [Int: RPCWorkerHost]] = [:]
    /// Ways to llama-servers of other nodes.
    var serverForwarders: [InstanceID: LoopbackForwarder] = [:]
    var rpcCapability: RPCCapability?
    /// Weights that came over the network.
    var keptPieces: PieceCache?
    /// Which node heads the stages and workers held here.
    var stageHeads: [InstanceID: NodeID] = [:]
    /// Instances whose head unloaded them here, oldest first: a `prepareStage` that was under way comes too late.
    var unloadedInstances: [InstanceID] = []
    /// By head.
    var announced: [NodeID: [InstanceReport]] = [:]
    var ownReports: [InstanceID: InstanceReport] = [:]
    var launches = LaunchHistory()
    /// What was unusual about the launch of instances whose head is here.
    var launchNotices: [InstanceID: String] = [:]
    /// On whose behalf the instances run whose head is here.
    var ownership: [InstanceID: HeadOwnership] = [:]
    /// Instances that were stopped here, oldest first: a start that was under way comes too late.
    var endedInstances: [InstanceID] = []
    /// Other nodes that the cluster suspects or holds dead.
    var absentNodes: Set<NodeID> = []
    /// Stages that are being unloaded without anybody waiting; `shutDown` does.
    var unloadTasks: [Int: Task<Void, Never>] = [:]
    var unloadTaskCount = 0
    /// Requests that are computed here for clients of other nodes.
    var requestsByLink: [ObjectIdentifier: [RequestID: InstanceID]] = [:]
    var listener: LinkListener?
    /// Finds addresses to dial; announces this node too if the configuration says so.
    var beacons: BeaconService?
    var linkAddress: String
    var isStopping = false
    /// How fast this node computes; nil until it has been measured.
    var speed: NodeSpeed?
    let dialRequests: AsyncStream<DialRequest>
    nonisolated let dialRequestsContinuation: AsyncStream<DialRequest>.Continuation

    static let unloadedInstanceCountMax = Limits.instanceCountMax

    /// Reads or makes the node's identity. Throws `fileUnreadable` when the data folder cannot be used.
    package init(configuration: NodeConfiguration, launcher: any EngineLauncher, logger: Logger) throws(ShoalError) {
        security = try NodeIdentity.load(configuration, logger: logger)
        id = security.trust.nodeID
        identity = NodeIntroduction(id: id, configuration: configuration)
        self.configuration = configuration
        self.launcher = launcher
        self.logger = logger
        models = ModelLibrary(folders: configuration.modelFolders)
        llamaTools = configuration.llamaTools.map { LlamaTools(paths: $0) }
        dataLoop = MultiThreadedEventLoopGroup.singleton.next()
        probeLoop = MultiThreadedEventLoopGroup.singleton.next()
        let (memory, notice) = PeerMemory.open(in: configuration.dataDirectory, eventLoop: dataLoop, logger: logger)
        self.memory = memory
        if let notice {
            logger.warning("\(notice)")
            notes.add(DoctorCheck(.warning, notice))
        }
        reversals = ReverseDials(eventLoop: dataLoop)
        relays = RelayDesk(eventLoop: dataLoop, logger: logger)
        reach = ReachState(own: id, relayDelay: configuration.limits.relayDelay)
        linkAddress = configuration.linkAddress
        keeper = Self.makeKeeper(configuration, security.trust, logger)
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
            group.addTask { await self.refreshRegularly() }
            group.addTask { await self.handleInbox() }
            group.addTask { await self.continueLostAnswers() }
            group.addTask { await self.learnCapabilities() }
            group.addTask { await self.spreadMembership() }
            group.addTask { await self.keeper.run(for: self, isAlone: self.expectsNobody) }
            group.addTask { await self.keepMembershipStored() }
            group.addTask { await self.measureLinks() }
            group.addTask { await self.keepSpeed() }
            await self.startDiscovery()
            for await request in self.dialRequests {
                group.addTask {
                    switch request {
                    case .keep(let address): await self.keepConnected(to: address)
                    case .relayed(let node): await self.linkThroughOther(node)
                    case .once(let address, let node): await self.dialOnce(address, expecting: node)
                    }
                }
            }
            // The stream ends when this task is cancelled; so do the others.
            group.cancelAll()
        }
        await shutDown()
    }

    /// A link address that peers can dial: the bound port, if port 0 was asked for.
    package var boundLinkAddress: String { linkAddress }

    /// Where others are told to dial.
    var advertisedAddress: String { configuration.advertisedAddress ?? linkAddress }

    private func bind() async throws(ShoalError) {
        let listener = try await LinkListener.bind(
            LinkAddress(parsing: configuration.linkAddress), eventLoopGroup: dataLoop, security: security,
            hello: { [identity] in identity.hello(purpose: .control) },
            onLink: { [weak self] connection, hello in
                guard let self else { return connection.close(because: nil) }
                take(connection, hello)
            })
        self.listener = listener
        linkAddress = listener.boundAddress.description
        identity.bound(to: advertisedAddress)
    }

    private func handleInbox() async {
        for await event in inbox.events {
            inbox.taken()
            await handle(event)
            configuration.onChange()
        }
    }

    /// Ends requests, engines and links, in that order. Nobody takes events of the inbox any more.
    private func shutDown() async {
        isStopping = true
        await keeper.stop()
        await beacons?.stop()
        await listener?.close()
        await memory.store()
        let reason = ShoalError(.unavailable, "node \(configuration.name) is shutting down")
        streams.fail(with: reason)
        await withDiscardingTaskGroup { group in
            for head in heads.all { group.addTask { await head.stop(reason) } }
        }
        for head in heads.all { heads.remove(head.order.id) }
        ownReports = [:]
        ownership = [:]
        for instance in Set(stages.keys).union(workers.keys) { await unloadStage(instance) }
        for forwarder in serverForwarders.values { forwarder.close() }
        serverForwarders = [:]
        for task in unloadTasks.values { await task.value }
        for link in peers.connected.values.flatMap(\.links) {
            link.close(because: ShoalError(.linkLost, "node \(configuration.name) shut down"))
        }
        relays.close(because: ShoalError(.linkLost, "node \(configuration.name) shut down"))
        peers = PeerTable()
        announced = [:]
        requestsByLink = [:]
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
    /// The grace is over for stages whose head was lost.
    case orphanCheck(NodeID, among: Set<InstanceID>)
    /// The cluster changed its mind about another node.
    case memberChanged(ShoalMembership.MembershipEvent)
    /// A node without a link has one again.
    case nodeReturned(NodeID)
}
