import Logging
import NIOCore
import NIOPosix
import ShoalCore
import ShoalLinks
import ShoalTrust
import Synchronization

/// The remembered addresses and their file, which is replaced as a whole or not at all. Any thread; the file is written
/// when somebody says so.
final class PeerMemory: Sendable {
    private struct State {
        var peers: RememberedPeers
        var isChanged = false
        var isFailing = false
    }

    private static let fileName = "peers.json"
    private let file: SecretFile
    private let eventLoop: any EventLoop
    private let logger: Logger
    private let state: Mutex<State>

    /// Reads the file in `directory`, which exists. A damaged one is moved aside, and `notice` says so; one that cannot
    /// even be read or moved is left alone, and nothing is remembered.
    static func open(
        in directory: String, eventLoop: any EventLoop, logger: Logger
    ) -> (memory: PeerMemory, notice: String?) {
        let file = SecretFile("\(directory)/\(fileName)")
        var peers = RememberedPeers()
        var notice: String?
        do throws(ShoalError) {
            if let bytes = try file.read(byteCountMax: RememberedPeers.fileByteCountMax) {
                if let stored = RememberedPeers(decoding: bytes) {
                    peers = stored
                } else {
                    let aside = try file.moveAside(suffix: "damaged-\(UnixClock.seconds())")
                    notice = "the remembered addresses were damaged and are at \(aside) now; nodes are found anew"
                }
            }
        } catch {
            notice = "addresses of other nodes are not remembered: \(error.message)"
        }
        return (PeerMemory(file, peers, eventLoop, logger), notice)
    }

    private init(_ file: SecretFile, _ peers: RememberedPeers, _ eventLoop: any EventLoop, _ logger: Logger) {
        self.file = file
        self.eventLoop = eventLoop
        self.logger = logger
        state = Mutex(State(peers: peers))
    }

    var entries: [RememberedPeers.Entry] { state.withLock { $0.peers.entries } }

    func worked(_ address: LinkAddress, of node: NodeID) {
        state.withLock { state in
            if state.peers.worked(address, of: node, unixSeconds: UnixClock.seconds()) { state.isChanged = true }
        }
    }

    func forget(_ node: NodeID) {
        state.withLock { state in
            if state.peers.forget(node) { state.isChanged = true }
        }
    }

    /// Writes the file if something has changed, on a thread that may wait for the disk. A failure is logged once; the
    /// next change is tried again.
    func store() async {
        let peers = state.withLock { state -> RememberedPeers? in
            defer { state.isChanged = false }
            return state.isChanged ? state.peers : nil
        }
        guard let peers else { return }
        do {
            // Also in a task that is cancelled: that is how a node ends.
            try await NIOThreadPool.singleton.runIfActive(eventLoop: eventLoop) { [file] in
                try file.write(try peers.encoded())
            }.get()
            state.withLock { $0.isFailing = false }
        } catch {
            let wasFailing = state.withLock { state in
                defer { state.isFailing = true }
                return state.isFailing
            }
            if !wasFailing { logger.warning("addresses were not stored", metadata: ["error": "\(error)"]) }
        }
    }
}
