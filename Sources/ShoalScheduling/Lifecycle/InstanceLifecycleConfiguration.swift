/// How patiently an instance is brought up and recovered.
package struct InstanceLifecycleConfiguration: Hashable, Sendable {
    /// Before the first retry; each further one in a row waits twice as long.
    package var retryDelayMin: Duration = .milliseconds(100)
    package var retryDelayMax: Duration = .seconds(10)
    /// Failures within `crashLoopWindow` that make the instance give up. A link that is lost does not count: the node
    /// behind it may only be away.
    package var crashLoopFailureCountMax = 5
    package var crashLoopWindow: Duration = .seconds(60)
    /// How long a stage's node may be out of reach before the instance gives up, so that it can be placed on others.
    /// Longer spares a placement when a node only restarts; shorter serves sooner when it is gone.
    package var lostNodeGrace: Duration = .seconds(5)
    /// The same while the instance was never ready: there is less to lose.
    package var lostNodeGraceAtLaunch: Duration = .seconds(2)
    /// How long a recovery may go on while nodes cannot be reached.
    package var recoveryDurationMax: Duration = .seconds(600)
    /// How long loading, resetting or warming up may go on without any progress.
    package var stalledDurationMax: Duration = .seconds(60)
    /// Phases kept for reports; the oldest are forgotten.
    package var phaseRecordCountMax = 64

    package init() {}
}
