import ShoalCore

extension TextTable {
    /// What `shoal nodes` shows.
    static func nodes(_ nodes: [NodeReport]) -> TextTable {
        var table = TextTable([
            ("NAME", .left), ("STATE", .left), ("ROLE", .left), ("MEMORY FREE", .right), ("TOTAL", .right),
            ("THREADS", .right), ("ADDRESS", .left), ("API", .left), ("VERSION", .left),
        ])
        for node in nodes {
            table.add([
                node.name, state(of: node), role(of: node), node.memoryAvailable?.description ?? "-",
                node.memoryTotal?.description ?? "-", node.threadCount.map(String.init) ?? "-", node.linkAddress,
                node.apiAddress ?? "-", node.problem.map { "(\($0))" } ?? node.shoalVersion ?? "-",
            ])
        }
        return table
    }

    private static func role(of node: NodeReport) -> String {
        let roles = [node.reachability == .this ? "this" : nil, node.leadingTerm == nil ? nil : "leader"]
        return roles.compactMap { $0 }.joined(separator: ", ")
    }

    /// How a node is, and since when if it is not well.
    private static func state(of node: NodeReport) -> String {
        guard let state = node.state else { return node.reachability.rawValue }
        guard state != .alive, let seconds = node.stateSeconds else { return state.rawValue }
        return "\(state.rawValue) \(Int(seconds)) s"
    }

    /// What `shoal ps` shows: a line per stage, the instance's own columns on the first.
    static func instances(_ instances: [InstanceReport]) -> TextTable {
        var table = TextTable([
            ("INSTANCE", .left), ("MODEL", .left), ("STATE", .left), ("HEAD", .left), ("NODE", .left),
            ("LAYERS", .right), ("WEIGHTS", .right), ("SHARE", .right), ("LOAD", .right), ("FROM NETWORK", .right),
            ("TOKENS", .right),
        ])
        for instance in instances {
            var own = [
                instance.id.description, instance.model, instance.phase.rawValue,
                instance.phase == .waiting ? "-" : instance.headName,
            ]
            if instance.stages.isEmpty { table.add(own) }
            let total = instance.stages.reduce(ByteCount.zero) { $0 + $1.weightBytes }
            for stage in instance.stages {
                table.add(own + cells(of: stage, of: total))
                own = ["", "", "", ""]
            }
        }
        return table
    }

    /// What `shoal forget` shows without a node.
    static func members(_ members: [MemberReport]) -> TextTable {
        var table = TextTable([("NAME", .left), ("NODE", .left), ("", .left)])
        for member in members { table.add([member.name, member.id.rawValue, member.isThis ? "this node" : ""]) }
        return table
    }

    /// What `shoal invite --list` shows.
    static func invites(_ invites: [InviteReport]) -> TextTable {
        var table = TextTable([("INVITE", .left), ("STATE", .left), ("MINUTES", .right), ("USED BY", .left)])
        for invite in invites {
            let minutes = (invite.expiresUnixSeconds - invite.createdUnixSeconds) / 60
            table.add([invite.id, invite.state.rawValue, String(minutes), invite.usedBy?.rawValue ?? "-"])
        }
        return table
    }

    private static func cells(of stage: StageReport, of total: ByteCount) -> [String] {
        let share = total > .zero ? Double(stage.weightBytes.rawValue) / Double(total.rawValue) * 100 : 0
        let load =
            stage.loadSeconds.map { "\(oneDecimal($0)) s" }
            ?? (stage.phase == .loading ? "\(Int(stage.loadProgress * 100)) %" : "-")
        return [
            stage.nodeName, stage.layers.description, "\(oneDecimal(stage.weightBytes.mebibytes)) MiB",
            "\(Int(share.rounded())) %", load, stage.weightBytesReceived.description,
            stage.computedTokenCount.map(String.init) ?? "-",
        ]
    }
}

/// Who leads, below the table of `shoal nodes`.
func leaderLine(_ nodes: [NodeReport]) -> String {
    guard let leader = nodes.first(where: { $0.leadingTerm != nil }), let term = leader.leadingTerm else {
        return "no leader"
    }
    return "leader: \(leader.name), term \(term)"
}

/// Draft models, below the table of `shoal ps`.
func draftLines(_ instances: [InstanceReport]) -> [String] {
    instances.compactMap { instance in
        guard let draft = instance.draft else { return nil }
        var parts = ["\(instance.id): draft model \(draft.model) on \(instance.headName) \(draft.phase.rawValue)"]
        parts.append("\(oneDecimal(draft.weightBytes.mebibytes)) MiB")
        if let seconds = draft.secondsPerToken { parts.append("\(oneDecimal(seconds * 1000)) ms per token") }
        if let acceptance = draft.acceptance { parts.append("\(Int((acceptance * 100).rounded())) % right lately") }
        parts.append("\(draft.acceptedTokenCount) of \(draft.draftedTokenCount) guesses right")
        if let problem = draft.problem { parts.append(problem) }
        return parts.joined(separator: ", ")
    }
}

/// Problems that do not fit a table: one line per instance or stage that has one.
func problemLines(_ instances: [InstanceReport]) -> [String] {
    instances.flatMap { instance in
        let own = [awaitedWorkers(instance), instance.notice, instance.problem].compactMap { $0 }
        return own.map { "\(instance.id): \($0)" }
            + instance.stages.compactMap { stage in
                stage.problem.map { "\(instance.id), layers \(stage.layers) on \(stage.nodeName): \($0)" }
            }
    }
}

/// How many workers of the rpc engine are ready for the launch, and which are still awaited; nil unless some are.
func awaitedWorkers(_ instance: InstanceReport) -> String? {
    guard instance.phase == .starting else { return nil }
    let workers = instance.stages.compactMap { stage in stage.worker.map { (stage, $0) } }
    let awaited = workers.filter { $0.1.preparedSeconds == nil }
    guard !awaited.isEmpty else { return nil }
    let ready = workers.compactMap { stage, worker in
        worker.preparedSeconds.map { "\(stage.nodeName) after \(oneDecimal($0)) s" }
    }
    let names = awaited.map { "layers \($0.0.layers) on \($0.0.nodeName)" }
    return "\(ready.count) of \(workers.count) workers ready"
        + (ready.isEmpty ? "" : " (\(ready.joined(separator: ", ")))") + "; awaiting \(names.joined(separator: ", "))"
}
