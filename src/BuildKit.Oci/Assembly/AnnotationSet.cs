namespace BuildKit.Oci.Assembly;

/// <summary>The annotations of one export, by target and platform (spec 07 §4). Later additions win.</summary>
public sealed class AnnotationSet
{
    private readonly Dictionary<(AnnotationTarget Target, string Platform), SortedDictionary<string, string>> _groups = [];

    /// <summary>Platforms named by annotations of manifests, as ids; the empty id of unspecific ones left out.</summary>
    public IReadOnlyCollection<string> PlatformIds =>
        [.. _groups.Keys.Select(group => group.Platform).Where(platform => platform.Length > 0).Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)];

    /// <summary>Whether annotations force OCI media types: any but those of manifests do.</summary>
    public bool RequireOci => _groups.Keys.Any(group => group.Target != AnnotationTarget.Manifest);

    /// <summary>Whether any annotation is for an index or its descriptor.</summary>
    public bool HasIndexAnnotations => _groups.Keys.Any(group => group.Target is AnnotationTarget.Index or AnnotationTarget.IndexDescriptor);

    /// <summary>Takes the annotations among attributes; returns the other attributes.</summary>
    /// <exception cref="FormatException">An annotation of unknown type or for no valid platform.</exception>
    public IReadOnlyDictionary<string, string> AddFrom(IEnumerable<KeyValuePair<string, string>> attributes)
    {
        var others = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var (key, value) in attributes)
        {
            if (AnnotationKey.TryParse(key) is { } annotation)
                Add(annotation, value);
            else
                others[key] = value;
        }
        return others;
    }

    /// <summary>Adds one annotation.</summary>
    public void Add(AnnotationKey key, string value)
    {
        var group = (key.Target, key.Platform?.Normalize().FormatAll() ?? "");
        if (!_groups.TryGetValue(group, out var annotations))
            _groups[group] = annotations = new SortedDictionary<string, string>(ByteOrder.Instance);
        annotations[key.Key] = value;
    }

    /// <summary>Adds all annotations of another set, which win.</summary>
    public void Merge(AnnotationSet other)
    {
        foreach (var ((target, platform), annotations) in other._groups)
        {
            foreach (var (key, value) in annotations)
                Add(new AnnotationKey(target, platform.Length == 0 ? null : Platform.Parse(platform), key), value);
        }
    }

    /// <summary>The annotations of a target for a platform: the unspecific ones with those of the platform over them; for an
    /// index, those of every platform. A null platform gives the unspecific ones only, as a single manifest has them.</summary>
    public IReadOnlyDictionary<string, string> For(AnnotationTarget target, Platform? platform = null)
    {
        var result = new SortedDictionary<string, string>(ByteOrder.Instance);
        var id = platform?.Normalize().FormatAll();
        var isIndex = target is AnnotationTarget.Index or AnnotationTarget.IndexDescriptor;
        foreach (var (group, annotations) in _groups.Where(group => group.Key.Target == target).OrderBy(group => group.Key.Platform, StringComparer.Ordinal))
        {
            if (group.Platform.Length > 0 && group.Platform != id && !isIndex)
                continue;
            foreach (var (key, value) in annotations)
                result[key] = value;
        }
        return result;
    }
}
