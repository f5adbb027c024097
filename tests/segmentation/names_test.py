"""Class names of three data sets against ids written down by hand."""
import pytest

from pnerf_jax.segmentation import names

# Ids of KITTI-360: 7 road, 8 sidewalk, 9 parking, 10 rail track, 11 building, 12 wall, 13 fence,
# 14 guard rail, 15 bridge, 16 tunnel, 17 pole, 18 polegroup, 19 light, 20 sign, 21 vegetation,
# 22 terrain, 23 sky, 24 person, 25 rider, 26 car, 27 truck, 28 bus, 29 caravan, 30 trailer,
# 31 train, 32 motorcycle, 33 bicycle, 34 garage, 38 lamp, 39 trash bin, 41 box, 43 unknown vehicle.
CITYSCAPES = {
    'road': 7, 'sidewalk': 8, 'building': 11, 'wall': 12, 'fence': 13, 'pole': 17,
    'traffic light': 19, 'traffic sign': 20, 'vegetation': 21, 'terrain': 22, 'sky': 23,
    'person': 24, 'rider': 25, 'car': 26, 'truck': 27, 'bus': 28, 'train': 31, 'motorcycle': 32,
    'bicycle': 33}
CITYSCAPES_REST = {
    'unlabeled': 0, 'ego vehicle': 0, 'rectification border': 0, 'out of roi': 0, 'static': 0,
    'dynamic': 0, 'ground': 0, 'parking': 9, 'rail track': 10, 'guard rail': 14, 'bridge': 15,
    'tunnel': 16, 'polegroup': 18, 'caravan': 29, 'trailer': 30, 'license plate': 0}
VISTAS = {
    'Bird': 0, 'Ground Animal': 0, 'Curb': 8, 'Fence': 13, 'Guard Rail': 14, 'Barrier': 13,
    'Wall': 12, 'Bike Lane': 7, 'Crosswalk - Plain': 7, 'Curb Cut': 8, 'Parking': 9,
    'Pedestrian Area': 8, 'Rail Track': 10, 'Road': 7, 'Service Lane': 7, 'Sidewalk': 8,
    'Bridge': 15, 'Building': 11, 'Tunnel': 16, 'Person': 24, 'Bicyclist': 25, 'Motorcyclist': 25,
    'Other Rider': 25, 'Lane Marking - Crosswalk': 7, 'Lane Marking - General': 7, 'Mountain': 22,
    'Sand': 22, 'Sky': 23, 'Snow': 22, 'Terrain': 22, 'Vegetation': 21, 'Water': 0, 'Banner': 0,
    'Bench': 0, 'Bike Rack': 0, 'Billboard': 0, 'Catch Basin': 7, 'CCTV Camera': 0,
    'Fire Hydrant': 0, 'Junction Box': 41, 'Mailbox': 41, 'Manhole': 7, 'Phone Booth': 0,
    'Pothole': 7, 'Street Light': 38, 'Pole': 17, 'Traffic Sign Frame': 17, 'Utility Pole': 17,
    'Traffic Light': 19, 'Traffic Sign (Back)': 20, 'Traffic Sign (Front)': 20, 'Trash Can': 39,
    'Bicycle': 33, 'Boat': 43, 'Bus': 28, 'Car': 26, 'Caravan': 29, 'Motorcycle': 32,
    'On Rails': 31, 'Other Vehicle': 43, 'Trailer': 30, 'Truck': 27, 'Wheeled Slow': 43,
    'Car Mount': 0, 'Ego Vehicle': 0, 'Unlabeled': 0}
VISTAS_DOTTED = {
    'construction--barrier--fence': 13, 'construction--flat--bike-lane': 7,
    'construction--flat--crosswalk-plain': 7, 'construction--structure--building': 11,
    'human--rider--bicyclist': 25, 'marking--crosswalk-zebra': 7, 'marking--general': 7,
    'marking--discrete--arrow--left': 7, 'nature--vegetation': 21, 'object--support--pole': 17,
    'object--traffic-sign--front': 20, 'object--traffic-light': 19, 'object--street-light': 38,
    'object--vehicle--on-rails': 31, 'object--trash-can': 39, 'void--ego-vehicle': 0,
    'animal--bird': 0, 'Traffic Light - General (Single)': 19, 'Road Shoulder': 7, 'Garage': 34}
ADE = {
    'wall': 12, 'building, edifice': 11, 'sky': 23, 'ceiling': 0, 'tree': 21, 'road, route': 7,
    'bed ': 0, 'grass': 22, 'sidewalk, pavement': 8, 'person;individual;someone': 24, 'house': 11,
    'car;auto;automobile': 26, 'lamp': 0, 'box': 0, 'fence': 13, 'signboard': 20, 'skyscraper': 11,
    'path': 8, 'palm': 21, 'bus': 28, 'truck': 27, 'streetlight': 38, 'pole': 17, 'van': 26,
    'minibike': 32, 'bicycle': 33, 'traffic light': 19, 'ashcan': 39, 'railing': 13, 'sofa': 0,
    'earth': 22, 'plant': 21, 'mountain': 22}


@pytest.mark.parametrize('table', [CITYSCAPES, CITYSCAPES_REST, VISTAS, VISTAS_DOTTED, ADE])
def test_names_are_those_of_a_table_by_hand(table):
  ids, unknown = names.ids_of(dict(enumerate(table)))
  assert dict(zip(table, ids.tolist())) == table
  assert unknown == [name for name, found in table.items() if found == 0]


def test_lamps_and_boxes_of_streets_and_of_rooms():
  assert names.ids_of({0: 'lamp', 1: 'box'})[0].tolist() == [38, 41]
  assert names.ids_of({0: 'lamp', 1: 'box', 2: 'ceiling'})[0].tolist() == [0, 0, 0]
