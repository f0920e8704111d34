/// The phases that an instance went through, the present one last.
package struct PhaseHistory: Hashable, Sendable {
    /// When an instance was in a phase, as durations since the owner's fixed instant.
    package struct Record: Hashable, Sendable {
        package let phase: InstancePhase
        package let startedAt: Duration
        /// Nil while it lasts.
        package fileprivate(set) var endedAt: Duration?
        /// Why this phase was entered, if it is one that nobody wanted.
        package let cause: ShoalError?
    }

    /// In order; at least one, at most `recordCountMax`.
    package private(set) var records: [Record]
    private let recordCountMax: Int

    package init(phase: InstancePhase, recordCountMax: Int, now: Duration) {
        records = [Record(phase: phase, startedAt: now, endedAt: nil, cause: nil)]
        self.recordCountMax = max(1, recordCountMax)
    }

    package var phase: InstancePhase { records[records.count - 1].phase }

    /// Does nothing if that is the present phase.
    package mutating func enter(_ next: InstancePhase, because cause: ShoalError? = nil, now: Duration) {
        guard next != phase else { return }
        records[records.count - 1].endedAt = now
        records.append(Record(phase: next, startedAt: now, endedAt: nil, cause: cause))
        records.removeFirst(max(0, records.count - recordCountMax))
    }

    package var reports: [PhaseReport] { records.map(PhaseReport.init) }
}

/// A phase that an instance went through.
package struct PhaseReport: Hashable, Sendable, Codable {
    package var phase: InstancePhase
    /// Since the instance was created.
    package var startSeconds: Double
    /// Nil while it lasts.
    package var endSeconds: Double?
    /// Why the instance recovers or failed; nil for other phases.
    package var cause: String?

    fileprivate init(_ record: PhaseHistory.Record) {
        phase = record.phase
        startSeconds = record.startedAt / .seconds(1)
        endSeconds = record.endedAt.map { $0 / .seconds(1) }
        cause = record.cause?.message
    }
}
