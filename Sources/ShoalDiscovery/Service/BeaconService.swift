package import Logging
package import NIOCore
internal import NIOPosix
package import ShoalCore
package import ShoalLinks

/// Discovery at work: owns a `DiscoveryState` and its sockets on one event loop and performs its actions.
///
/// Any thread may call it. `onDial` is called on the event loop, must not block, and every call must be answered with
/// `dialEnded`. It runs until `stop`; after that, calls do nothing.
package final class BeaconService: Sendable {
    /// Where the list of interfaces comes from; called on a thread that may block.
    package typealias InterfaceReader = @Sendable () throws -> [NetworkInterface]
    package typealias OnDial = @Sendable (_ address: LinkAddress, _ node: NodeID?) -> Void

    private let eventLoop: any EventLoop
    private let core: NIOLoopBound<BeaconCore>

    private init(eventLoop: any EventLoop, core: NIOLoopBound<BeaconCore>) {
        self.eventLoop = eventLoop
        self.core = core
    }

    /// Reads the interfaces and begins to announce and to listen. A port or an interface that cannot be used is logged
    /// and left out; the other sources of addresses go on.
    package static func start(
        _ configuration: DiscoveryConfiguration, eventLoop: any EventLoop,
        interfaces: @escaping InterfaceReader = { try SystemInterfaces.read() }, logger: Logger,
        onNotice: @escaping @Sendable (DiscoveryNotice) -> Void = { _ in }, onDial: @escaping OnDial
    ) async -> BeaconService {
        let core = eventLoop.submit {
            let core = BeaconCore(
                configuration, eventLoop: eventLoop, interfaces: interfaces, logger: logger, onNotice: onNotice,
                onDial: onDial)
            core.start()
            return NIOLoopBound(core, eventLoop: eventLoop)
        }
        // Never fails: the closure does not throw, and a loop that is shut down runs no node.
        guard let core = try? await core.get() else {
            preconditionFailure("discovery was started on an event loop that has shut down")
        }
        return BeaconService(eventLoop: eventLoop, core: core)
    }

    /// See `DiscoveryState.addPeers`.
    package func addPeers(_ addresses: [LinkAddress], node: NodeID? = nil, source: CandidateSource) {
        onLoop { core in core.perform { $0.addPeers(addresses, node: node, source: source, now: $1) } }
    }

    /// See `DiscoveryState.dialEnded`.
    package func dialEnded(_ address: LinkAddress, _ outcome: DialOutcome) {
        onLoop { core in core.perform { $0.dialEnded(address, outcome, now: $1) } }
    }

    /// See `DiscoveryState.linkOpened`.
    package func linkOpened(to node: NodeID) {
        onLoop { core in
            core.perform { state, _ in
                state.linkOpened(to: node)
                return []
            }
        }
    }

    /// See `DiscoveryState.linkClosed`.
    package func linkClosed(to node: NodeID) {
        onLoop { core in core.perform { $0.linkClosed(to: node, now: $1) } }
    }

    /// See `DiscoveryState.forget`.
    package func forget(_ node: NodeID) {
        onLoop { core in
            core.perform { state, _ in
                state.forget(node)
                return []
            }
        }
    }

    /// What is known now.
    package func candidates() async -> [Candidate] { await read(\.known) }

    /// The addresses to tell others about this node.
    package func advertisedAddresses() async -> [LinkAddress] { await read(\.advertisedAddresses) }

    /// Closes every socket.
    package func stop() async {
        // The loop outlives its services; if it does not, there is nothing left to close.
        try? await eventLoop.submit { self.core.value.stop() }.get()
    }

    private func read<Value: Sendable>(_ body: @escaping @Sendable (DiscoveryState) -> Value) async -> Value {
        await withCheckedContinuation { continuation in
            onLoop { continuation.resume(returning: body($0.state)) }
        }
    }

    private func onLoop(_ body: @escaping @Sendable (BeaconCore) -> Void) {
        eventLoop.execute { body(self.core.value) }
    }
}

/// The part of the service that lives on the loop.
private final class BeaconCore {
    private let eventLoop: any EventLoop
    private let interfaces: BeaconService.InterfaceReader
    private let logger: Logger
    private let onNotice: @Sendable (DiscoveryNotice) -> Void
    private let onDial: BeaconService.OnDial
    private let startedAt = NIODeadline.now()
    private(set) var state: DiscoveryState
    private var sockets: BeaconSockets?
    private var timer: Scheduled<Void>?
    private var isStopped = false
    private var interfaceProblem: String?

    init(
        _ configuration: DiscoveryConfiguration, eventLoop: any EventLoop,
        interfaces: @escaping BeaconService.InterfaceReader, logger: Logger,
        onNotice: @escaping @Sendable (DiscoveryNotice) -> Void, onDial: @escaping BeaconService.OnDial
    ) {
        self.eventLoop = eventLoop
        self.interfaces = interfaces
        self.logger = logger
        self.onNotice = onNotice
        self.onDial = onDial
        state = DiscoveryState(configuration: configuration, seed: .random(in: .min ... .max))
    }

    private var now: Duration { .nanoseconds((NIODeadline.now() - startedAt).nanoseconds) }

    func start() {
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        let eventLoop = eventLoop
        sockets = BeaconSockets(eventLoop: eventLoop, configuration: state.configuration) { bytes, source, port in
            eventLoop.assertInEventLoop()
            bound.value.perform { $0.received(bytes, from: source, port: port, now: $1) }
        }
        readInterfaces()
    }

    func stop() {
        isStopped = true
        timer?.cancel()
        sockets?.close()
        sockets = nil
    }

    /// Applies an event and performs what it wants.
    func perform(_ event: (inout DiscoveryState, Duration) -> [DiscoveryAction]) {
        guard !isStopped else { return }
        for action in event(&state, now) { perform(action) }
        scheduleTick()
    }

    private func perform(_ action: DiscoveryAction) {
        switch action {
        case .announce(let bytes, let interface): sockets?.announce(bytes, on: interface)
        case .reply(let bytes, let target, let port): sockets?.reply(bytes, to: target, port: port)
        case .dial(let address, let node): onDial(address, node)
        case .listen(let interfaces):
            logger.debug(
                "announcing", metadata: ["interfaces": "\(interfaces.map { "\($0.name) \($0.address)" })"])
            sockets?.listen(on: interfaces)
        case .notice(let notice):
            logger.notice("\(notice)")
            onNotice(notice)
        }
    }

    private func scheduleTick() {
        timer?.cancel()
        guard let wake = state.nextWake else { return }
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        let pause = max(wake - now, .milliseconds(1))
        timer = eventLoop.scheduleTask(in: TimeAmount(pause)) {
            bound.value.perform { $0.tick(now: $1) }
        }
    }

    /// Now, and again after each interval, as long as the service runs.
    private func readInterfaces() {
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        NIOThreadPool.singleton.runIfActive(eventLoop: eventLoop) { [interfaces] in try interfaces() }
            .whenComplete { bound.value.interfacesRead($0) }
    }

    private func interfacesRead(_ result: Result<[NetworkInterface], any Error>) {
        guard !isStopped else { return }
        switch result {
        case .success(let current):
            interfaceProblem = nil
            perform { $0.interfacesRead(current, now: $1) }
        case .failure(let error):
            // Told once per change, not every few seconds.
            if interfaceProblem != "\(error)" { logger.warning("\(error)") }
            interfaceProblem = "\(error)"
        }
        let bound = NIOLoopBound(self, eventLoop: eventLoop)
        eventLoop.scheduleTask(in: TimeAmount(state.configuration.interfaceInterval)) { bound.value.readInterfaces() }
    }
}
