/// What the gateway needs to answer inference requests; the node implements it, whichever node holds the head.
package protocol InferenceService: Sendable {
    /// The models that answer now, on any node, sorted by name.
    func servedModels() async -> [ServedModel]

    /// Starts an answer. The stream begins with `started` and ends with a terminal event; it never throws afterwards.
    /// Throws `modelNotFound`, `unavailable`, `invalidRequest`, `contextOverflow`, `overloaded` before the first event.
    /// Dropping the stream, or cancelling the task that iterates it, cancels the request in every stage.
    func generate(_ request: GenerationRequest) async throws(ShoalError) -> GenerationStream

    /// The gateway is done with an answer and says what it spent on it. Any thread; must not block.
    func answered(_ request: RequestID, http: TraceReport.HTTP)
}

extension InferenceService {
    /// A service without traces has no use for it.
    package func answered(_ request: RequestID, http: TraceReport.HTTP) {}
}

/// What the gateway and the command line need to run the cluster.
package protocol ClusterService: Sendable {
    func nodes() async -> [NodeReport]
    func instances() async -> [InstanceReport]
    func plan(_ request: LoadRequest) async throws(ShoalError) -> PlanReport
    /// Starts an instance and returns at once; its report shows the progress.
    func load(_ request: LoadRequest) async throws(ShoalError) -> InstanceReport
    /// Stops an instance and frees it on every node. Throws `notFound`.
    func stop(_ instance: InstanceID) async throws(ShoalError)
    /// The last lines of the engines of one node (by name) or one instance (by id or model). Throws `notFound`.
    func engineLogs(of nodeOrInstance: String) async throws(ShoalError) -> [EngineLogReport]

    /// Where the time of the latest requests went, latest first; of one request, or nil for all that are remembered.
    /// Throws `notFound`.
    func traces(of request: RequestID?) async throws(ShoalError) -> [TraceReport]

    /// The nodes that may link with each other, this one included.
    func members() async -> [MemberReport]
    /// Removes a member for good, by id, by the beginning of its id, or by name. Throws `notFound`.
    func forget(_ member: String) async throws(ShoalError) -> MemberReport
    /// Without their codes.
    func invites() async -> [InviteReport]
    /// A code for one new node; nil means the default lifetime.
    func invite(lifetimeSeconds: Int?) async throws(ShoalError) -> InviteReport
    /// Makes an invite useless. Throws `notFound`.
    func revokeInvite(_ id: String) async throws(ShoalError) -> InviteReport
    /// Makes this node a member of the cluster that issued `code`.
    func join(_ code: String) async throws(ShoalError) -> JoinReport

    /// Who reaches whom, as measured.
    func links() async throws(ShoalError) -> ReachReport
    /// What is wrong with the cluster and what to do about it.
    func doctor() async throws(ShoalError) -> DoctorReport

    /// Where the llama-server of an instance is reached from this process, whichever node runs it. Throws `notFound`,
    /// and `unavailable` while it does not run.
    func serverAddress(of instance: InstanceID) async throws(ShoalError) -> ServerAddress
}

/// A node that measures no links says so instead of showing an empty matrix.
extension ClusterService {
    package func serverAddress(of instance: InstanceID) async throws(ShoalError) -> ServerAddress {
        throw ShoalError(.notFound, "there is no instance \(instance) of the rpc engine")
    }

    package func links() async throws(ShoalError) -> ReachReport {
        throw ShoalError(.unavailable, "this node does not measure its links")
    }

    package func doctor() async throws(ShoalError) -> DoctorReport {
        throw ShoalError(.unavailable, "this node does not measure its links, so there is nothing to diagnose")
    }
}

/// The events of one answer, for one reader.
///
/// The reader tells how far it is by asking for the next event; `onConsumed` carries that to the head, which pauses the
/// sequence of a reader that falls behind by more than `Limits.unacknowledgedTokenCountMax` tokens.
package struct GenerationStream: AsyncSequence, Sendable {
    package typealias Element = GenerationEvent

    private let events: AsyncStream<GenerationEvent>
    private let onConsumed: @Sendable (_ tokenCount: Int) -> Void

    /// `events` must end with a terminal event; its `onTermination` cancels the request.
    package init(events: AsyncStream<GenerationEvent>, onConsumed: @escaping @Sendable (_ tokenCount: Int) -> Void) {
        self.events = events
        self.onConsumed = onConsumed
    }

    package struct Iterator: AsyncIteratorProtocol {
        var base: AsyncStream<GenerationEvent>.Iterator
        let onConsumed: @Sendable (_ tokenCount: Int) -> Void
        var deliveredTokenCount = 0

        package mutating func next(isolation actor: isolated (any Actor)?) async -> GenerationEvent? {
            if deliveredTokenCount > 0 {
                onConsumed(deliveredTokenCount)
                deliveredTokenCount = 0
            }
            let event = await base.next(isolation: actor)
            if case .text(_, let tokens) = event { deliveredTokenCount = tokens.count }
            return event
        }
    }

    package func makeAsyncIterator() -> Iterator {
        Iterator(base: events.makeAsyncIterator(), onConsumed: onConsumed)
    }
}
