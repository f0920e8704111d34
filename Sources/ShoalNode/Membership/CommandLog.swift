import ShoalCore
import ShoalMembership

/// Which commands were given when, so that one that is repeated until it is seen to work does not flood its head.
struct CommandLog {
    private struct Key: Hashable {
        var instance: InstanceID
        var verb: InstanceCommand.Verb
    }

    private struct Entry {
        var lastAt: Duration
        var isUnderWay = true
        var failureCount = 0
    }

    private var entries: [Key: Entry] = [:]

    /// Whether to give the command now; then it counts as under way.
    mutating func begin(_ command: InstanceCommand, interval: Duration, now: Duration) -> Bool {
        let key = Key(instance: command.instance, verb: command.verb)
        guard var entry = entries[key] else {
            makeRoom(now: now, interval: interval)
            entries[key] = Entry(lastAt: now)
            return true
        }
        guard !entry.isUnderWay, now - entry.lastAt >= interval else { return false }
        entry.isUnderWay = true
        entry.lastAt = now
        entries[key] = entry
        return true
    }

    /// The head answered, or could not be asked. Returns how often in a row it could not.
    mutating func end(_ command: InstanceCommand, isReached: Bool) -> Int {
        let key = Key(instance: command.instance, verb: command.verb)
        guard var entry = entries[key] else { return 0 }
        entry.isUnderWay = false
        entry.failureCount = isReached ? 0 : entry.failureCount + 1
        entries[key] = entry
        return entry.failureCount
    }

    /// Commands that are not repeated any more are done.
    private mutating func makeRoom(now: Duration, interval: Duration) {
        guard entries.count >= Limits.instanceCountMax else { return }
        entries = entries.filter { $0.value.isUnderWay || now - $0.value.lastAt < interval * 10 }
    }
}
