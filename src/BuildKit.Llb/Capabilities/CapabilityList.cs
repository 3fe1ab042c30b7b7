using BuildKit.Oci;
using BuildKit.Protocol.ApiCaps;

namespace BuildKit.Llb;

/// <summary>How settled a capability is.</summary>
public enum CapabilityStatus
{
    /// <summary>May go away again.</summary>
    Experimental,

    /// <summary>About to settle.</summary>
    Prerelease,

    /// <summary>Here to stay.</summary>
    Stable,
}

/// <summary>One thing that can be asked of a daemon.</summary>
/// <param name="Id">Its name on the wire.</param>
public sealed record Capability(string Id)
{
    /// <summary>How settled it is.</summary>
    public CapabilityStatus Status { get; init; } = CapabilityStatus.Experimental;

    /// <summary>Whether clients should stop asking for it.</summary>
    public bool Deprecated { get; init; }

    /// <summary>The release that brought it, by product.</summary>
    public IReadOnlyDictionary<string, string> AddedIn { get; init; } = new Dictionary<string, string>(StringComparer.Ordinal);
}

/// <summary>A table of capabilities that this program knows.</summary>
public sealed class CapabilityList
{
    private readonly Capability[] _all;
    private readonly Dictionary<string, Capability> _byId = new(StringComparer.Ordinal);

    /// <summary>Makes a table.</summary>
    public CapabilityList(IEnumerable<Capability> capabilities)
    {
        _all = [.. capabilities.OrderBy(capability => capability.Id, ByteOrder.Instance)];
        foreach (var capability in _all)
            _byId.Add(capability.Id, capability);
    }

    /// <summary>The capabilities, sorted by id.</summary>
    public IReadOnlyList<Capability> Items => _all;

    /// <summary>The capability of an id, null when it is not known.</summary>
    public Capability? Find(string id) => _byId.GetValueOrDefault(id);

    /// <summary>The list as a daemon publishes it, everything enabled.</summary>
    public IEnumerable<APICap> Published() =>
        _all.Select(capability => new APICap { ID = capability.Id, Enabled = true, Deprecated = capability.Deprecated });

    /// <summary>What of this table a daemon supports that published <paramref name="published"/>.</summary>
    public CapabilitySet SupportedBy(IEnumerable<APICap> published) => new(this, published);

    /// <summary>What of this table a daemon supports that knows exactly these ids.</summary>
    public CapabilitySet SupportedBy(IEnumerable<string> ids) => new(this, ids.Select(id => new APICap { ID = id, Enabled = true }));

    /// <summary>All of this table.</summary>
    public CapabilitySet Everything() => new(this, Published());
}

/// <summary>What one daemon supports.</summary>
public sealed class CapabilitySet
{
    private readonly CapabilityList _known;
    private readonly Dictionary<string, APICap> _published = new(StringComparer.Ordinal);

    internal CapabilitySet(CapabilityList known, IEnumerable<APICap> published)
    {
        _known = known;
        foreach (var capability in published)
        {
            if (capability.ID.Length > 0)
                _published[capability.ID] = capability;
        }
    }

    /// <summary>Whether the daemon published the id, enabled or not, whether we know it or not.</summary>
    public bool Contains(string id) => _published.ContainsKey(id);

    /// <summary>Whether it can be used: known here, published and enabled there.</summary>
    public bool Supports(string id) => _known.Find(id) is not null && _published.TryGetValue(id, out var found) && found.Enabled;

    /// <summary>Why an id cannot be used, in the words of the protocol; null when it can.</summary>
    /// <param name="id">The capability.</param>
    /// <param name="product">What people are told to update.</param>
    public string? Explain(string id, string product = "")
    {
        if (_known.Find(id) is not { } known)
            return $"unknown API capability {id}";
        _published.TryGetValue(id, out var published);
        if (published is { Enabled: true })
            return null;
        var status = known.Status switch
        {
            CapabilityStatus.Experimental => "experimental ",
            CapabilityStatus.Prerelease => "prerelease ",
            _ => "",
        };

        // The second blank stands before a readable name that no capability has.
        var request = $"requested {status}feature {id}  ";
        if (published is not null)
            return request + "has been disabled on the build server" + (published.DisabledReasonMsg.Length > 0 ? ": " + published.DisabledReasonMsg : "");
        var hint = known.AddedIn.TryGetValue(product, out var release) ? $" (added in {release})" : "";
        return $"{request}is not supported by build server{hint}, please update {product}";
    }

    /// <summary>Fails unless an id can be used.</summary>
    /// <exception cref="LlbException">It cannot; see <see cref="Explain"/>.</exception>
    public void Require(string id, string product = "")
    {
        if (Explain(id, product) is { } reason)
            throw new LlbException(reason);
    }
}
