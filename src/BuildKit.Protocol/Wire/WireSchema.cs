namespace BuildKit.Protocol.Wire;

/// <summary>How a field's value is written, on the wire and in protobuf JSON.</summary>
internal enum WireKind
{
    Bool,
    Int32,
    Int64,
    UInt32,
    Enum,
    String,
    Bytes,
    Message,
}

/// <summary>One field of a <see cref="WireMessage"/>.</summary>
/// <param name="Number">Field number.</param>
/// <param name="Name">Name in protobuf JSON.</param>
/// <param name="Kind">Kind of the value; of the map's value when <paramref name="Map"/>.</param>
/// <param name="Type">The message type, late bound because the types refer to each other.</param>
/// <param name="Values">Enum value names by number.</param>
internal sealed record WireField(
    int Number,
    string Name,
    WireKind Kind,
    Func<WireMessage>? Type = null,
    string[]? Values = null,
    bool Repeated = false,
    bool Map = false,
    bool Oneof = false)
{
    public WireField Many => this with { Repeated = true };

    public WireField ByKey => this with { Map = true };

    public WireField OneOf => this with { Oneof = true };

    public static WireField Bool(int number, string name) => new(number, name, WireKind.Bool);

    public static WireField Int32(int number, string name) => new(number, name, WireKind.Int32);

    public static WireField Int64(int number, string name) => new(number, name, WireKind.Int64);

    public static WireField UInt32(int number, string name) => new(number, name, WireKind.UInt32);

    public static WireField String(int number, string name) => new(number, name, WireKind.String);

    public static WireField Bytes(int number, string name) => new(number, name, WireKind.Bytes);

    public static WireField Enum(int number, string name, params string[] values) =>
        new(number, name, WireKind.Enum, Values: values);

    public static WireField Message(int number, string name, Func<WireMessage> type) =>
        new(number, name, WireKind.Message, type);
}

/// <summary>
/// The shape of a message, enough to rewrite its bytes canonically and to transcode them to and from
/// protobuf JSON without reflection (which native code cannot be relied on to have). Fields stand in
/// ascending number order.
/// </summary>
internal sealed class WireMessage(params WireField[] fields)
{
    public IReadOnlyList<WireField> Fields { get; } = fields;

    /// <summary>Fields in the order the canonical encoding writes them: oneof members after all others.</summary>
    public IReadOnlyList<WireField> CanonicalOrder { get; } =
        [.. fields.Where(f => !f.Oneof), .. fields.Where(f => f.Oneof)];

    public WireField? ByNumber(int number)
    {
        foreach (var field in Fields)
            if (field.Number == number)
                return field;
        return null;
    }

    public WireField? ByName(string name)
    {
        foreach (var field in Fields)
            if (string.Equals(field.Name, name, StringComparison.Ordinal))
                return field;
        return null;
    }
}
