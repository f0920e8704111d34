/// What happens next, by virtual time; at the same time, in the order of scheduling. A binary heap of keys.
struct EventQueue<Event> {
    private struct Entry {
        let time: Int
        let order: Int
        /// Of `events`: entries move often and must be cheap to copy.
        let slot: Int

        func isBefore(_ other: Entry) -> Bool { time != other.time ? time < other.time : order < other.order }
    }

    private var heap: [Entry] = []
    private var events: [Event?] = []
    private var freeSlots: [Int] = []
    private var order = 0

    /// `time` in microseconds.
    mutating func schedule(_ event: Event, at time: Int) {
        order += 1
        let slot = freeSlots.popLast() ?? events.count
        if slot == events.count { events.append(event) } else { events[slot] = event }
        heap.append(Entry(time: time, order: order, slot: slot))
        var child = heap.count - 1
        while child > 0 {
            let parent = (child - 1) / 2
            guard heap[child].isBefore(heap[parent]) else { return }
            heap.swapAt(child, parent)
            child = parent
        }
    }

    mutating func next(until limit: Int) -> (time: Int, event: Event)? {
        guard let first = heap.first, first.time <= limit else { return nil }
        heap.swapAt(0, heap.count - 1)
        heap.removeLast()
        var parent = 0
        while true {
            var least = 2 * parent + 1
            guard least < heap.count else { break }
            if least + 1 < heap.count, heap[least + 1].isBefore(heap[least]) { least += 1 }
            guard heap[least].isBefore(heap[parent]) else { break }
            heap.swapAt(parent, least)
            parent = least
        }
        freeSlots.append(first.slot)
        return events[first.slot].map { (first.time, $0) }
    }
}
