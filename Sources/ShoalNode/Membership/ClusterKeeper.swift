import Logging
import NIOCore
import ShoalCore
import ShoalLinks
import ShoalMembership
import ShoalWire

/// This node's part in the cluster: who is alive, who leads, what should run.
///
/// Decisions are `ClusterMember`'s and `DesiredState`'s; this actor gives them time and messages and does what they
/// say. It has an inbox of its own and never waits for anything in between, so that a busy node still answers pings.
actor ClusterKeeper {
    nonisolated let id: NodeID
    nonisolated let life: UInt64
    nonisolated let inbox = KeeperInbox()
    let limits: NodeLimits
    let logger: Logger
    /// Whether a node belongs to the cluster.
    private let isMember: @Sendable (NodeID) -> Bool
    /// What people call a node.
    let nodeName: @Sendable (NodeID) -> String
    private let onChange: @Sendable () -> Void
    private let clock = ContinuousClock()
    private let startedAt: ContinuousClock.Instant
    /// Whom commands and plans are asked of. Set by `run`.
    weak var node: Node?

    var member: ClusterMember
    var desired: DesiredState
    /// Living links by peer; the oldest is used.
    private var links: [NodeID: [ControlLink]] = [:]
    private var ownInstances: [ObservedInstance] = []
    private var reportNumber: UInt64 = 0
    /// The term for which `desired` is set up.
    private var followedTerm: Term?
    /// As the leader told last.
    private var heardStatuses: [SlotStatus] = []
    private var toldStatuses: [SlotStatus] = []
    private var toldDesired: [DesiredInstance] = []
    var isReconcileDue = false
    private var nextReport = Duration.zero
    private var nextReconcile = Duration.zero
    /// Whoever waits for any change; resumed with every tick, too, so that deadlines are seen.
    private var waiters: [CheckedContinuation<Void, Never>] = []
    private(set) var isStopped = false

    /// Plans of the starts under way.
    var orders: [InstanceID: InstanceOrder] = [:]
    /// Reports of instances whose heads have confirmed the start in this reign.
    var startReports: [InstanceID: InstanceReport] = [:]
    var commands = CommandLog()
    /// Asks under way; cancelled by `stop`.
    private var tasks: [Int: Task<Void, Never>] = [:]
    private var taskCount = 0

    init(
        id: NodeID, life: UInt64, configuration: NodeConfiguration, logger: Logger,
        isMember: @escaping @Sendable (NodeID) -> Bool, nodeName: @escaping @Sendable (NodeID) -> String
    ) {
        self.id = id
        self.life = life
        self.isMember = isMember
        self.nodeName = nodeName
        self.logger = logger
        limits = configuration.limits
        onChange = configuration.onChange
        startedAt = clock.now
        desired = DesiredState(configuration: limits.desired)
        member = ClusterMember(
            node: id, life: life, membership: limits.membership, election: limits.election, now: .zero)
    }

    var now: Duration { clock.now - startedAt }

    /// Takes part until the task is cancelled. `isAlone`: no other node is expected.
    func run(for node: Node, isAlone: Bool) async {
        self.node = node
        var election = limits.election
        if isAlone { election.startDelay = .zero }
        member = ClusterMember(node: id, life: life, membership: limits.membership, election: election, now: now)
        tick()
        await withDiscardingTaskGroup { group in
            group.addTask { await self.tickRegularly() }
            group.addTask { await self.handleInbox() }
        }
    }

    /// Tells the others that this node leaves, and ends what waits. The links are still open.
    func stop() {
        guard !isStopped else { return }
        isStopped = true
        perform(member.leave())
        for task in tasks.values { task.cancel() }
        tasks = [:]
        resumeWaiters()
    }

    private func tickRegularly() async {
        // Cancellation ends the wait, and the loop with it.
        while (try? await Task.sleep(for: limits.membership.tickInterval, clock: clock)) != nil { tick() }
    }

    private func handleInbox() async {
        for await event in inbox.events {
            inbox.taken()
            handle(event)
        }
    }

    private func tick() {
        guard !isStopped else { return }
        let now = now
        perform(member.tick(now: now))
        if now >= nextReport {
            nextReport = now + limits.announcementInterval
            sendReport()
            tellNews(isForced: true)
        }
        if now >= nextReconcile { isReconcileDue = true }
        settle()
        resumeWaiters()
    }

    private func handle(_ event: KeeperEvent) {
        guard !isStopped else { return }
        switch event {
        case .message(let message, let sender): receive(message, from: sender)
        case .linked(let link): opened(link)
        case .unlinked(let link): closed(link)
        case .heads(let instances):
            ownInstances = instances
            sendReport()
            isReconcileDue = true
        case .report(let report, let sender):
            guard report.node == sender else { return }
            desired.receive(report)
            isReconcileDue = true
        case .news(let news, let sender):
            guard news.term.leader == sender else { return }
            desired.merge(news.desired)
            if news.term == member.term { heardStatuses = news.statuses }
        case .forgotten(let node): member.forget(node)
        case .resourcesChanged:
            desired.resourcesChanged(now: now)
            isReconcileDue = true
        }
        settle()
        onChange()
        resumeWaiters()
    }

    /// What is said about nodes that are no members of this cluster is not believed.
    private func receive(_ message: ClusterMessage, from sender: NodeID) {
        guard isMember(sender) else { return }
        var message = message
        message.membership.rumors.removeAll { !isMember($0.node) }
        if let leader = message.announcement?.term.leader, !isMember(leader) { message.announcement = nil }
        perform(member.receive(message, from: sender, now: now))
    }

    private func opened(_ link: ControlLink) {
        let peer = link.peer.nodeID
        links[peer, default: []].append(link)
        guard links[peer]?.count == 1 else { return }
        perform(member.connected(to: peer, now: now))
        node?.inbox.post(.nodeReturned(peer))
        sendReport()
    }

    private func closed(_ link: ControlLink) {
        let peer = link.peer.nodeID
        guard links[peer]?.contains(where: { $0 === link }) == true else { return }
        links[peer]?.removeAll { $0 === link }
        guard links[peer]?.isEmpty == true else { return }
        links[peer] = nil
        perform(member.connectionClosed(to: peer, now: now))
    }

    /// Whether a command is to be obeyed; see `Election.admit`. One that comes from this node itself has its own id.
    func admit(_ term: Term, from sender: NodeID) throws(ShoalError) {
        guard !isStopped else { throw ShoalError(.linkLost, "node \(nodeName(id)) is shutting down") }
        try member.admit(term, from: sender)
        settle()
    }

    // MARK: Doing what was decided

    private func perform(_ actions: [ClusterMemberAction]) {
        for action in actions {
            switch action {
            case .send(let message, let peer): send(.cluster(message), to: peer)
            case .memberChanged(let event):
                logger.info(
                    "node \(nodeName(event.node)) \(event.sentence)", metadata: ["node.id": "\(event.node)"])
                if event.isArrival { desired.nodeArrived(now: now) }
                isReconcileDue = true
                node?.inbox.post(.memberChanged(event))
            case .leaderChanged(.tookLead(let term)):
                logger.info("this node leads the cluster", metadata: ["term": "\(term.counter)"])
            case .leaderChanged(.follows(let term)):
                logger.info("node \(nodeName(term.leader)) leads the cluster", metadata: ["term": "\(term.counter)"])
            }
        }
    }

    /// Follows a change of the term, and reconciles if that is due.
    private func settle() {
        if member.term != followedTerm { termChanged() }
        guard isReconcileDue, !isStopped else { return }
        isReconcileDue = false
        nextReconcile = now + limits.announcementInterval / 2
        reconcile()
        tellNews(isForced: false)
    }

    private func termChanged() {
        followedTerm = member.term
        heardStatuses = []
        toldStatuses = []
        orders = [:]
        startReports = [:]
        commands = CommandLog()
        if let term = member.term, member.isLeading {
            desired.beginReign(term, now: now)
            isReconcileDue = true
        } else {
            desired.endReign()
        }
        sendReport()
        onChange()
    }

    private func sendReport() {
        guard let term = member.term else { return }
        reportNumber += 1
        let report = HeadReport(
            node: id, term: term, number: reportNumber, life: life, instances: ownInstances,
            desired: member.isLeading ? [] : desired.desired)
        guard !member.isLeading else { return desired.receive(report) }
        send(.heads(report), to: term.leader)
    }

    /// The leader's copy, to everybody: when it changed, and regularly.
    private func tellNews(isForced: Bool) {
        guard let term = member.term, member.isLeading else { return }
        let (desired, statuses) = (desired.desired, desired.statuses)
        guard isForced || desired != toldDesired || statuses != toldStatuses else { return }
        toldDesired = desired
        toldStatuses = statuses
        guard !desired.isEmpty,
            let body = encoded(.desired(DesiredNews(term: term, desired: desired, statuses: statuses)))
        else { return }
        for peer in links.values { peer.first?.sendEvent(body) }
    }

    private func send(_ event: ControlEvent, to peer: NodeID) {
        guard let link = links[peer]?.first, let body = encoded(event) else { return }
        link.sendEvent(body)
    }

    private func encoded(_ event: ControlEvent) -> ByteBuffer? {
        do throws(ShoalError) {
            return try FrameJSON.encode(event)
        } catch {
            logger.error("a message of the cluster could not be encoded", metadata: ["error": "\(error.message)"])
            return nil
        }
    }

    /// Work that waits for others. It ends by itself, for every ask has a deadline; `stop` cancels what is left.
    func run(_ body: @escaping @Sendable (isolated ClusterKeeper) async -> Void) {
        guard !isStopped else { return }
        taskCount += 1
        let number = taskCount
        // `stop` cancels it.
        tasks[number] = Task {
            await body(self)
            self.tasks[number] = nil
            self.settle()
            self.onChange()
            self.resumeWaiters()
        }
    }

    // MARK: Waiting and looking

    /// Returns at the next change, or tick.
    func change() async {
        guard !isStopped else { return }
        await withCheckedContinuation { waiters.append($0) }
    }

    private func resumeWaiters() {
        let resumed = waiters
        waiters = []
        for waiter in resumed { waiter.resume() }
    }

    /// The node that leads, once there is one that is alive. Throws `unavailable` after `leaderDeadline`.
    func leader() async throws(ShoalError) -> NodeID {
        let deadline = now + limits.leaderDeadline
        while !isStopped, now < deadline {
            if let term = member.term {
                if member.isLeading { return id }
                if let row = member.membership.member(term.leader), row.state == .alive, row.rumor.life == term.life,
                    links[term.leader] != nil
                {
                    return term.leader
                }
            }
            await change()
        }
        throw ShoalError(
            .unavailable, "no node leads the cluster, or the leader cannot be reached, for \(limits.leaderDeadline)")
    }

    /// What everybody may know.
    var view: ClusterView {
        let now = now
        var states: [NodeID: ClusterView.Row] = [:]
        for row in member.membership.members {
            states[row.node] = ClusterView.Row(state: row.state, seconds: (now - row.since) / .seconds(1))
        }
        return ClusterView(
            rows: states, ownSeconds: now / .seconds(1), term: member.term,
            slots: desired.desired, statuses: member.isLeading ? desired.statuses : heardStatuses)
    }
}

/// A look at the cluster, as one node knows it.
struct ClusterView: Sendable {
    struct Row: Sendable {
        var state: MemberState
        /// Since it is in that state.
        var seconds: Double
    }

    /// Of the others.
    var rows: [NodeID: Row]
    /// Since this node takes part.
    var ownSeconds: Double
    var term: Term?
    var slots: [DesiredInstance]
    var statuses: [SlotStatus]
}
