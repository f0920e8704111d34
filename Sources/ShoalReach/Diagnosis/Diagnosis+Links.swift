internal import ShoalCore
internal import ShoalDiscovery
internal import ShoalLinks

/// What is wrong between nodes. One line per pair, direction and address that does not work; of a node that is away,
/// which has its own line, addresses would add nothing.
extension Diagnosis {
    func links() -> [DoctorCheck] {
        let rows = matrix.rows.filter { facts($0.from)?.isLinked == true && facts($0.to)?.isLinked == true }
        guard !rows.isEmpty else { return [] }
        var checks = rows.compactMap(problem)
        checks += pairs().compactMap(pairProblem)
        guard checks.isEmpty else { return checks }
        return [DoctorCheck(.pass, "every measured address is open: \(rows.count) of \(rows.count)")]
    }

    private func problem(_ row: ReachRow) -> DoctorCheck? {
        if row.state == .open { return quality(row) }
        let (finding, advice) = sentence(row)
        return DoctorCheck(severity(row), finding, advice: advice)
    }

    /// A blocked address is a failure only when nothing else connects the two.
    private func severity(_ row: ReachRow) -> DoctorCheck.Outcome {
        switch plan(row.from, row.to).way {
        case .blocked: .failure
        case .dial, .relay, .untested: .warning
        }
    }

    private func sentence(_ row: ReachRow) -> (finding: String, advice: String) {
        let from = name(row.from)
        let to = name(row.to)
        let port = port(row)
        if let wrong = wrongAddress(row) ?? wrongInterface(row) { return wrong }
        switch row.state {
        case .refused:
            return (
                "\(from) is refused by \(to) at \(row.address): nothing listens on TCP port \(port) there",
                listensElsewhere(row)
            )
        case .timedOut: return filtered(row)
        case .unreachable:
            return (
                "\(from) has no way to \(row.address) of \(to)\(row.detail.map { " (\($0))" } ?? "")",
                "is \(from) in that network? Switch its WiFi, cable or VPN on, or give both nodes a common network"
            )
        case .stranger, .open:
            return (
                "at \(row.address), where \(from) expects \(to), somebody else answers",
                "another program or node has that address now: correct it, or free port \(port) on that machine"
            )
        }
    }

    /// The address is none of the node's own: a typing error, or yesterday's address.
    private func wrongAddress(_ row: ReachRow) -> (finding: String, advice: String)? {
        guard let host = host(row), IPAddress(host) != nil, let target = facts(row.to), !target.addresses.isEmpty,
            !target.addresses.contains(host)
        else { return nil }
        let own = target.addresses.joined(separator: ", ")
        return (
            "\(name(row.from)) tries \(name(row.to)) at \(row.address), which is not an address of \(name(row.to)); "
                + "it has \(own)",
            "correct the address given with --peer, or remove it: discovery finds the right one by itself"
        )
    }

    /// The two share a network, but the node listens in another one.
    private func wrongInterface(_ row: ReachRow) -> (finding: String, advice: String)? {
        guard let target = facts(row.to), let source = facts(row.from), !target.listensAt.isEmpty,
            row.state == .timedOut || row.state == .unreachable, matrix.best(from: row.from, to: row.to) == nil,
            let shared = target.addresses.first(where: { address in
                !target.listensAt.contains(address) && source.addresses.contains { isNear($0, address) }
            })
        else { return nil }
        let port = port(row)
        return (
            "\(name(row.from)) does not reach \(name(row.to)) at \(row.address), and \(name(row.to)) does not listen "
                + "at \(shared), in the network that they share",
            "on \(name(row.to)), restart with --link 0.0.0.0:\(port), or --link \(shared):\(port)"
        )
    }

    /// Nodes that nobody on another machine can dial, by their own choice.
    func listeners() -> [DoctorCheck] {
        nodes.filter { $0.isLinked && isLocalOnly($0) && hasOtherMachines(than: $0) }.map { node in
            DoctorCheck(
                .warning, "\(name(node.id)) takes links from its own machine only, so nobody else can dial it",
                advice: "on \(name(node.id)), restart with --link 0.0.0.0:\(node.linkPort ?? 7461)")
        }
    }

    private func isLocalOnly(_ node: NodeFacts) -> Bool {
        !node.listensAt.isEmpty && node.listensAt.allSatisfy { IPAddress($0)?.addressClass == .loopback }
    }

    private func hasOtherMachines(than node: NodeFacts) -> Bool {
        let own = Set(outward(node))
        return nodes.contains { other in
            other.id != node.id && (!other.isLinked || own.isDisjoint(with: outward(other)))
        }
    }

    private func outward(_ node: NodeFacts) -> [String] {
        node.addresses.filter { IPAddress($0)?.addressClass != .loopback }
    }

    /// Within the network that homes usually have; the real size is not told.
    private func isNear(_ one: String, _ other: String) -> Bool {
        guard let one = IPAddress(one), let other = IPAddress(other), one.isVersion4, other.isVersion4,
            one.addressClass != .loopback
        else { return false }
        return one.isIn(networkOf: other, prefixLength: 24)
    }

    private func listensElsewhere(_ row: ReachRow) -> String {
        guard let target = facts(row.to), let linkPort = target.linkPort, linkPort != port(row) else {
            return "\(name(row.to)) listens on another address only: check --link there"
        }
        return "\(name(row.to)) listens on port \(linkPort): correct the address"
    }

    /// Nothing answers although the node is alive: somebody drops packets. Who, depends on who else gets through.
    private func filtered(_ row: ReachRow) -> (finding: String, advice: String) {
        let from = name(row.from)
        let to = name(row.to)
        let port = port(row)
        let others = matrix.rows.filter { $0.to == row.to && $0.from != row.from && $0.address == row.address }
        let finding = "\(from) gets no answer from \(to) at \(row.address) although \(to) is alive"
        if let witness = others.first(where: { $0.state == .open }) {
            return (
                finding + "; \(name(witness.from)) does",
                "packets between these two are dropped: look for access-point isolation (guest WiFi, hotspot) or a "
                    + "firewall rule for \(from)'s network"
            )
        }
        if isOverlay(row) {
            return (
                finding, "is the VPN up on both, and do its rules allow TCP port \(port)?"
            )
        }
        return (
            finding + ": a firewall drops it",
            "on \(to), allow incoming TCP port \(port); on a phone or behind a hotspot nothing can be done, and "
                + "\(to) dials out instead"
        )
    }

    private func quality(_ row: ReachRow) -> DoctorCheck? {
        guard let quality = row.quality, quality.bulkPassed == false else { return nil }
        let stall = quality.longestStallMilliseconds.map { " for \(Int(min($0, 1e9))) ms" } ?? ""
        return DoctorCheck(
            .warning, "10 MB from \(name(row.from)) to \(name(row.to)) at \(row.address) stalled\(stall)",
            advice: "move closer to the access point, switch WiFi power saving off, or use a cable")
    }

    // MARK: Pairs

    private func pairs() -> [(NodeID, NodeID)] {
        let ids = nodes.filter(\.isLinked).map(\.id)
        return ids.indices.flatMap { index in ids[(index + 1)...].map { (ids[index], $0) } }
    }

    /// Both directions blocked is worse than the sum of its lines, so it gets its own.
    private func pairProblem(_ pair: (NodeID, NodeID)) -> DoctorCheck? {
        let plan = plan(pair.0, pair.1)
        switch plan.way {
        case .dial, .untested: return nil
        case .relay(let member):
            return DoctorCheck(
                .warning,
                "\(name(pair.0)) and \(name(pair.1)) cannot dial each other; \(name(member)) passes their bytes on",
                advice: "opening one direction makes it faster")
        case .blocked:
            return DoctorCheck(
                .failure,
                "\(name(pair.0)) and \(name(pair.1)) cannot connect in either direction, and no other node reaches "
                    + "both",
                advice: "open one direction, or add a node that both reach")
        }
    }

    private func plan(_ one: NodeID, _ other: NodeID) -> DialPlan {
        DialPlan.decide(from: one, to: other, matrix: matrix, members: nodes.map(\.id), name: name)
    }

    // MARK: Addresses

    private func host(_ row: ReachRow) -> String? {
        // An address that cannot be read has no host; the sentence still shows it.
        (try? LinkAddress(parsing: row.address))?.host
    }

    private func port(_ row: ReachRow) -> UInt16 { (try? LinkAddress(parsing: row.address))?.port ?? 0 }

    private func isOverlay(_ row: ReachRow) -> Bool {
        host(row).flatMap { IPAddress($0) }?.addressClass == .vpn
    }
}
