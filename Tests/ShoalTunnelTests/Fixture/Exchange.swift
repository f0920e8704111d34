import NIOCore
import NIOPosix

/// Sends `bytes`, and returns the first `replyByteCount` that come back.
func exchange(_ bytes: [UInt8], replyByteCount: Int, port: Int) async throws -> [UInt8] {
    let channel = try await ClientBootstrap(group: Tunnel.group).connect(host: "127.0.0.1", port: port) { channel in
        channel.eventLoop.makeCompletedFuture {
            try NIOAsyncChannel<ByteBuffer, ByteBuffer>(wrappingChannelSynchronously: channel)
        }
    }
    return try await channel.executeThenClose { inbound, outbound in
        async let writing: Void = outbound.write(ByteBuffer(bytes: bytes))
        var back: [UInt8] = []
        for try await part in inbound {
            back += part.readableBytesView
            if back.count >= replyByteCount { break }
        }
        try await writing
        return back
    }
}
