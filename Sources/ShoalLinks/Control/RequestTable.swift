package import NIOCore
package import ShoalCore

/// Requests that wait for their replies: on one event loop, matched by number, each with a deadline.
package struct RequestTable<Reply: Sendable> {
    private struct Entry {
        let pending: PendingReply<Reply>
        let deadline: Scheduled<Void>
    }

    private var entries: [UInt64: Entry] = [:]
    private var nextNumber: UInt64 = 1
    private let countMax: Int
    private var closedBecause: ShoalError?

    package init(countMax: Int) { self.countMax = countMax }

    package var count: Int { entries.count }

    /// Enters a request and returns the number to send it with; nil when it is resolved already: cancelled, too many,
    /// or too late. `schedule` arms the deadline for the number it is given.
    package mutating func add(
        _ pending: PendingReply<Reply>, schedule: (UInt64) -> Scheduled<Void>
    ) -> UInt64? {
        guard !pending.isResolved else { return nil }
        if let closedBecause {
            pending.resolve(.failure(closedBecause))
            return nil
        }
        guard entries.count < countMax else {
            pending.resolve(.failure(ShoalError(.overloaded, "\(countMax) requests wait for this peer; try later")))
            return nil
        }
        let number = nextNumber
        nextNumber += 1
        entries[number] = Entry(pending: pending, deadline: schedule(number))
        return number
    }

    /// Ends one request; false when nobody waits for that number any more.
    @discardableResult
    package mutating func resolve(_ number: UInt64, _ result: Result<Reply, ShoalError>) -> Bool {
        guard let entry = entries.removeValue(forKey: number) else { return false }
        entry.deadline.cancel()
        entry.pending.resolve(result)
        return true
    }

    /// Drops a request whose caller gave up; its reply, if one comes, is ignored.
    package mutating func forget(_ pending: PendingReply<Reply>) {
        guard let entry = entries.first(where: { $0.value.pending === pending }) else { return }
        entry.value.deadline.cancel()
        entries[entry.key] = nil
    }

    /// Ends every request, and every later one, with `error`.
    package mutating func close(because error: ShoalError) {
        closedBecause = error
        let open = entries
        entries = [:]
        for entry in open.values {
            entry.deadline.cancel()
            entry.pending.resolve(.failure(error))
        }
    }
}
