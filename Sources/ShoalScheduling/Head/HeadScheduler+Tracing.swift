package import ShoalCore

extension HeadScheduler {
    /// The running request that has the sequence.
    package func owner(of sequence: SequenceID) -> RequestID? {
        let index = Int(sequence.rawValue)
        return slots.indices.contains(index) ? slots[index].running?.request.id : nil
    }
}
