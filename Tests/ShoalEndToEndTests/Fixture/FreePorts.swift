import Foundation
import Synchronization

/// Ports that are free, each given once. Below those that systems take for outgoing connections: one of these may
/// otherwise have the port before the node listens.
private enum FreePorts {
    static let range = 20_000..<30_000
    /// Runs beside this one begin elsewhere.
    static let next = Mutex(Int.random(in: range))
}

func freePorts(_ count: Int) throws -> [Int] {
    try (0..<count).map { _ in
        for _ in FreePorts.range {
            let port = FreePorts.next.withLock { next in
                defer { next = next + 1 < FreePorts.range.upperBound ? next + 1 : FreePorts.range.lowerBound }
                return next
            }
            if isFree(port) { return port }
        }
        throw TestFailure("no port of \(FreePorts.range) is free")
    }
}

private func isFree(_ port: Int) -> Bool {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = inet_addr("127.0.0.1")
    address.sin_port = UInt16(port).bigEndian
    return withUnsafeMutablePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
            bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
        }
    } == 0
}
