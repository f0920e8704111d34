import ShoalCore
import ShoalDiscovery
import Synchronization

/// The addresses of this machine's interfaces, as they were read last. Any thread.
final class InterfaceWatch: Sendable {
    private struct State {
        var addresses: [String] = []
        var hasChanged = false
    }

    private let state = Mutex(State())

    var current: [String] { state.withLock { $0.addresses } }

    /// Reads them from the system, which may block.
    func read() throws(ShoalError) -> [NetworkInterface] {
        let interfaces = try SystemInterfaces.read()
        let addresses = Set(interfaces.map(\.address.description)).sorted()
        state.withLock { state in
            guard state.addresses != addresses else { return }
            // The first reading is no change.
            state.hasChanged = !state.addresses.isEmpty
            state.addresses = addresses
        }
        return interfaces
    }

    /// Whether they have changed since this was asked last.
    func takeChange() -> Bool {
        state.withLock { state in
            defer { state.hasChanged = false }
            return state.hasChanged
        }
    }
}
