import Foundation

/// The sockets of a process on which anybody could say something to it, from Linux' tables.
struct ProcessSockets {
    /// HOST:PORT of listening TCP sockets.
    var listening: Set<String> = []
    /// HOST:PORT of UDP sockets.
    var datagram: Set<String> = []

    init(of process: Int32) throws {
        let folder = "/proc/\(process)/fd"
        let inodes = try Set(
            FileManager.default.contentsOfDirectory(atPath: folder).compactMap { name in
                // A descriptor may be closed by now.
                try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/\(name)")
            })
        for (table, isTCP) in [("tcp", true), ("tcp6", true), ("udp", false), ("udp6", false)] {
            let text = try String(contentsOfFile: "/proc/\(process)/net/\(table)", encoding: .utf8)
            for line in text.split(separator: "\n").dropFirst() {
                let fields = line.split(separator: " ")
                guard fields.count > 9, inodes.contains("socket:[\(fields[9])]") else { continue }
                let address = Self.address(String(fields[1]))
                // State 0A is LISTEN.
                if isTCP, fields[3] == "0A" { listening.insert(address) }
                if !isTCP { datagram.insert(address) }
            }
        }
    }

    /// "0100007F:1D24" is 127.0.0.1:7460: each word of the address in the machine's byte order.
    private static func address(_ field: String) -> String {
        let parts = field.split(separator: ":")
        guard parts.count == 2, let port = UInt16(parts[1], radix: 16) else { return field }
        guard parts[0].count == 8, let word = UInt32(parts[0], radix: 16) else {
            return parts[0].allSatisfy { $0 == "0" } ? "[::]:\(port)" : "[\(parts[0])]:\(port)"
        }
        let octets = withUnsafeBytes(of: word.littleEndian) { $0.map(String.init) }
        return "\(octets.joined(separator: ".")):\(port)"
    }
}
