/// A host and a port, as options and environment variables write them.
struct NetworkEndpoint: Hashable, Sendable, CustomStringConvertible {
    /// A name or an address; IPv6 addresses without brackets.
    var host: String
    var port: Int

    init(host: String, port: Int) {
        self.host = host
        self.port = port
    }

    /// Reads "host:port", "host", ":port", "[::1]:port" and "http://host:port/", as `OLLAMA_HOST` is written too. What
    /// is missing is taken from `defaults`. Nil if it is none of these, or the port is not between 0 and 65535.
    init?(parsing text: String, defaults: NetworkEndpoint) {
        var rest = text.filter { !$0.isWhitespace }[...]
        if rest.lowercased().hasPrefix("http://") { rest = rest.dropFirst("http://".count) }
        if let slash = rest.firstIndex(of: "/") {
            guard rest[slash...].allSatisfy({ $0 == "/" }) else { return nil }
            rest = rest[..<slash]
        }
        guard !rest.isEmpty, let (host, port) = NetworkEndpoint.split(rest) else { return nil }
        self.host = host.isEmpty ? defaults.host : String(host)
        guard let port else {
            self.port = defaults.port
            return
        }
        guard port.allSatisfy(\.isASCII), let number = Int(port), (0...65535).contains(number) else { return nil }
        self.port = number
    }

    var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }

    /// Where a client on this machine reaches a server that listens here: not at the address that means "everywhere".
    var reachable: NetworkEndpoint {
        switch host {
        case "0.0.0.0": NetworkEndpoint(host: "127.0.0.1", port: port)
        case "::": NetworkEndpoint(host: "::1", port: port)
        default: self
        }
    }

    private static func split(_ text: Substring) -> (host: Substring, port: Substring?)? {
        if text.first == "[" {
            guard let end = text.firstIndex(of: "]") else { return nil }
            let host = text[text.index(after: text.startIndex)..<end]
            let rest = text[text.index(after: end)...]
            guard !host.isEmpty, rest.isEmpty || rest.first == ":" else { return nil }
            return (host, rest.isEmpty ? nil : rest.dropFirst())
        }
        switch text.count(where: { $0 == ":" }) {
        case 0: return (text, nil)
        case 1:
            let colon = text.firstIndex(of: ":") ?? text.endIndex
            return (text[..<colon], text[colon...].dropFirst())
        // An IPv6 address without brackets cannot be followed by a port.
        default: return (text, nil)
        }
    }
}
