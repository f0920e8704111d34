package import ShoalCore

/// The invites of one issuer, as a value; `now` is in seconds since 1970.
///
/// Invites that can no longer be used stay on record for a day, so that whoever still has the code hears why it does
/// not work. Whoever does not have the code hears nothing.
package struct InviteBook: Hashable, Sendable, Codable {
    package static let defaultLifetimeSeconds = 3600
    /// How long an invite is remembered after its end.
    static let retentionSeconds = 86400
    /// Invites on record.
    static let countMax = 64

    private var invites: [Invite] = []

    package init() {}

    /// Oldest first, with those that ended lately.
    package var all: [Invite] { invites }

    package mutating func issue(
        secret: InviteSecret = .random(), lifetimeSeconds: Int = defaultLifetimeSeconds, now: Int
    ) throws(ShoalError) -> Invite {
        guard (1...Limits.inviteLifetimeSecondsMax).contains(lifetimeSeconds) else {
            throw ShoalError(
                .invalidRequest,
                "an invite can last 1 to \(Limits.inviteLifetimeSecondsMax) seconds, not \(lifetimeSeconds)")
        }
        dropOld(now: now)
        if invites.count >= Self.countMax {
            guard let dead = invites.firstIndex(where: { !Self.isOpen($0, now: now) }) else {
                throw ShoalError(
                    .overloaded, "\(Self.countMax) invites are open already; revoke some: shoal invite --revoke ID")
            }
            invites.remove(at: dead)
        }
        let invite = Invite(
            secret: secret, createdUnixSeconds: now, expiresUnixSeconds: now + lifetimeSeconds, state: .open)
        invites.append(invite)
        return invite
    }

    /// Throws `notFound`. An invite that was used stays used.
    package mutating func revoke(_ id: String) throws(ShoalError) {
        guard let index = invites.firstIndex(where: { $0.id == id }) else {
            throw ShoalError(.notFound, "there is no invite \(id); shoal invite --list shows them")
        }
        if case .open = invites[index].state { invites[index].state = .revoked }
    }

    /// Nil when no such invite is on record.
    package func invite(_ id: String) -> Invite? { invites.first { $0.id == id } }

    /// Uses up an invite for `node`, which has proved that it has the secret. The same node may come again, because an
    /// answer may be lost on the way. Throws `notAMember` with the reason.
    package mutating func redeem(_ id: String, by node: NodeID, now: Int) throws(ShoalError) {
        guard let index = invites.firstIndex(where: { $0.id == id }) else {
            throw ShoalError(.notAMember, "this invite is not known here any more; ask for a new one: shoal invite")
        }
        switch invites[index].state {
        case .revoked:
            throw ShoalError(.notAMember, "this invite was revoked; ask for a new one: shoal invite")
        case .used(let user) where user != node:
            throw ShoalError(
                .notAMember, "this invite was used already, by another node; ask for a new one: shoal invite")
        case .open, .used:
            guard invites[index].expiresUnixSeconds > now else {
                throw ShoalError(
                    .notAMember,
                    "this invite expired \(now - invites[index].expiresUnixSeconds) seconds ago; ask for a new one: "
                        + "shoal invite")
            }
            invites[index].state = .used(by: node)
        }
    }

    /// Whether anybody could have a code that deserves an answer.
    package func hasInvites(now: Int) -> Bool {
        invites.contains { now < $0.expiresUnixSeconds + Self.retentionSeconds }
    }

    static func isOpen(_ invite: Invite, now: Int) -> Bool {
        invite.state == .open && now < invite.expiresUnixSeconds
    }

    private mutating func dropOld(now: Int) {
        invites.removeAll { now >= $0.expiresUnixSeconds + Self.retentionSeconds }
    }
}
