import ShoalCore
import ShoalDiscovery
import Synchronization

/// What happened in this run that the doctor should mention, each once. Any thread.
final class DoctorNotes: Sendable {
    static let countMax = 64

    private let notes = Mutex<[DoctorCheck]>([])

    var all: [DoctorCheck] { notes.withLock { $0 } }

    /// The oldest give way.
    func add(_ note: DoctorCheck) {
        notes.withLock { notes in
            guard !notes.contains(note) else { return }
            if notes.count >= Self.countMax { notes.removeFirst() }
            notes.append(note)
        }
    }

    func add(_ notice: DiscoveryNotice) {
        switch notice {
        case .otherProtocol, .ownIdentityElsewhere: add(DoctorCheck(.failure, notice.description))
        case .tableFull: add(DoctorCheck(.warning, notice.description))
        // Neighbours are no problem.
        case .otherCluster: break
        }
    }
}
