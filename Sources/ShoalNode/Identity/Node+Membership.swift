import Logging
import NIOCore
import NIOPosix
package import ShoalCore
import ShoalDiscovery
import ShoalLinks
import ShoalTrust

/// Who belongs to the cluster: invites, joining, forgetting, and telling the others.
extension Node {
    package func members() async -> [MemberReport] { security.trust.members.map(report) }

    package func forget(_ text: String) async throws(ShoalError) -> MemberReport {
        let members = security.trust.members
        guard let index = try NodeNaming.index(of: text, among: members.map { ($0.name, $0.nodeID) }) else {
            throw ShoalError(.notFound, "no member is called \"\(text)\" or has an id that begins so; see shoal forget")
        }
        let member = members[index]
        try security.trust.forget(member.nodeID, now: UnixClock.seconds())
        return report(member)
    }

    package func invites() async -> [InviteReport] { security.trust.invites.map(Self.report) }

    package func invite(lifetimeSeconds: Int?) async throws(ShoalError) -> InviteReport {
        let (addresses, notice) = invitedAddresses()
        let (invite, code) = try security.trust.invite(
            addresses: addresses, lifetimeSeconds: lifetimeSeconds ?? InviteBook.defaultLifetimeSeconds,
            now: UnixClock.seconds())
        var report = Self.report(invite)
        report.code = code.description
        report.notice = notice
        return report
    }

    package func revokeInvite(_ id: String) async throws(ShoalError) -> InviteReport {
        try security.trust.revokeInvite(id)
        guard let invite = security.trust.invites.first(where: { $0.id == id }) else {
            throw ShoalError(.notFound, "there is no invite \(id)")
        }
        return Self.report(invite)
    }

    package func join(_ text: String) async throws(ShoalError) -> JoinReport {
        let code = try InviteCode(parsing: text)
        // A node that is started with the same code again has joined already.
        if security.trust.clusterID != code.clusterID || !security.trust.isMember(code.issuer) {
            try await LinkDialer.join(
                code, eventLoop: dataLoop, security: security, hello: identity.hello(purpose: .control),
                deadline: configuration.limits.dialDeadline)
        }
        await startDiscovery()
        for address in code.addresses { connect(to: address) }
        return JoinReport(clusterID: security.trust.clusterID, members: await members())
    }

    /// What another member knows about members.
    func learn(_ records: [MemberRecord]) async {
        do throws(ShoalError) {
            try security.trust.merge(records)
        } catch {
            logger.error("the member list could not be stored", metadata: ["error": "\(error.message)"])
        }
    }

    /// Stores again what a full disk refused, until the task is cancelled.
    func keepMembershipStored() async {
        // Cancellation ends the wait, and the loop with it.
        while (try? await Task.sleep(for: configuration.limits.announcementInterval)) != nil {
            let trust = security.trust
            let stored = try? await NIOThreadPool.singleton.runIfActive { try trust.storeIfBehind() }
            // What fails was logged when it changed, and is tried again.
            if stored == true { logger.notice("the cluster's state is stored again") }
        }
    }

    private func log(_ event: MembershipEvent) {
        switch event {
        case .memberAdded(let member):
            logger.info("\(member.name) is a member of the cluster", metadata: ["node.id": "\(member.nodeID)"])
        case .memberRemoved(let node):
            logger.info("a node is no member of the cluster any more", metadata: ["node.id": "\(node)"])
        }
    }

    /// Tells every change of the member list to all peers, until the task is cancelled. A change that a peer told is
    /// told on; what everybody knows already changes nothing, and so ends the telling.
    func spreadMembership() async {
        for await event in security.trust.events {
            log(event)
            if case .memberRemoved(let node) = event {
                peers.removeTargets(of: node)
                beacons?.forget(node)
                keeper.inbox.post(.forgotten(node))
                memory.forget(node)
            }
            broadcast(.members(security.trust.records))
        }
    }

    private func report(_ member: Member) -> MemberReport {
        MemberReport(
            id: member.nodeID, name: member.name, addedUnixSeconds: member.addedUnixSeconds,
            isThis: member.nodeID == id)
    }

    private static func report(_ invite: Invite) -> InviteReport {
        var report = InviteReport(
            id: invite.id, state: .open, createdUnixSeconds: invite.createdUnixSeconds,
            expiresUnixSeconds: invite.expiresUnixSeconds)
        switch invite.state {
        case .open: report.state = invite.expiresUnixSeconds > UnixClock.seconds() ? .open : .expired
        case .used(let node):
            report.state = .used
            report.usedBy = node
        case .revoked: report.state = .revoked
        }
        return report
    }

    /// Where a new node may dial this one, and what to know about it. A node that listens everywhere names the
    /// addresses of its interfaces.
    private func invitedAddresses() -> (addresses: [String], notice: String?) {
        if let advertised = configuration.advertisedAddress { return ([advertised], nil) }
        guard let bound = try? LinkAddress(parsing: linkAddress) else { return ([linkAddress], nil) }
        if bound.isLoopback {
            let notice =
                "this node takes links from its own machine only; to invite other machines, restart it with "
                + "--link 0.0.0.0:\(bound.port)"
            return ([linkAddress], notice)
        }
        guard bound.host == "0.0.0.0" || bound.host == "::" else { return ([linkAddress], nil) }
        let hosts = InterfaceAddresses.reachable(includingIPv6: bound.host == "::")
        let addresses = hosts.prefix(InviteCode.addressCountMax)
            .compactMap { try? LinkAddress(host: $0, port: bound.port).description }
        guard !addresses.isEmpty else {
            return (["127.0.0.1:\(bound.port)"], "this machine has no network address that others could reach")
        }
        return (addresses, nil)
    }
}

/// The addresses of this machine's network interfaces.
enum InterfaceAddresses {
    /// IPv4 first; without loopback and link-local addresses, which mean nothing on another machine.
    static func reachable(includingIPv6: Bool) -> [String] {
        // Without the list there is nothing to say, which the caller does.
        let devices = (try? System.enumerateDevices()) ?? []
        let addresses = devices.compactMap { device -> String? in
            guard let address = device.address, let host = address.ipAddress else { return nil }
            let isLocal =
                host.hasPrefix("127.") || host.hasPrefix("169.254.") || host == "::1" || host.hasPrefix("fe80")
            return isLocal ? nil : host
        }
        let (v6, v4) = (addresses.filter { $0.contains(":") }, addresses.filter { !$0.contains(":") })
        return v4 + (includingIPv6 ? v6 : [])
    }
}
